/*
 * identity.h
 *		Who this transaction is.
 */
#ifndef NARVIK_IDENTITY_H
#define NARVIK_IDENTITY_H

extern void narvik_identity_init(void);

#endif							/* NARVIK_IDENTITY_H */
