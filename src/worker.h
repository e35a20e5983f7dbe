/*
 * worker.h
 *		The processes that purge.
 */
#ifndef NARVIK_WORKER_H
#define NARVIK_WORKER_H

extern void narvik_worker_init(void);

#endif							/* NARVIK_WORKER_H */
