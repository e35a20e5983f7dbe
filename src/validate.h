/*
 * validate.h
 *		Whether a session is valid.
 */
#ifndef NARVIK_VALIDATE_H
#define NARVIK_VALIDATE_H

#include "store.h"

/* In this order: of several tokens the highest verdict counts. */
typedef enum
{
	NARVIK_IS_NO_TOKEN,			/* NULL or empty */
	NARVIK_IS_UNKNOWN,
	NARVIK_IS_EXPIRED,
	NARVIK_IS_VALID,
	NARVIK_IS_DUE,				/* valid; an extension is due and was not made */
	NARVIK_IS_EXTENDED,
	NARVIK_LOOK_AGAIN			/* the row changed under our hands */
} NarvikVerdict;

extern NarvikVerdict narvik_validate(const unsigned char *id, NarvikDataPart data,
									 NarvikSession *session);
extern void narvik_count_validation(NarvikVerdict verdict);

static inline bool
narvik_is_valid(NarvikVerdict verdict)
{
	return verdict == NARVIK_IS_VALID || verdict == NARVIK_IS_DUE ||
		verdict == NARVIK_IS_EXTENDED;
}

#endif							/* NARVIK_VALIDATE_H */
