/*
 * purge.h
 *		Removing expired sessions.
 */
#ifndef NARVIK_PURGE_H
#define NARVIK_PURGE_H

extern void narvik_purge_this_database(void);

#endif							/* NARVIK_PURGE_H */
