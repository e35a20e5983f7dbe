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

/* Which tokens count: of several in one request, each kind is tried before the next. */
typedef enum
{
	NARVIK_CURRENT_TOKENS,
	NARVIK_TOKENS_IN_GRACE,		/* and those */
	NARVIK_REUSED_TOKENS,		/* and those, which end their session */
	NARVIK_ALL_TOKENS = NARVIK_REUSED_TOKENS
} NarvikTokens;

extern NarvikVerdict narvik_validate(const unsigned char *id, NarvikTokens tokens,
									 NarvikDataPart data, NarvikSession *session);
extern void narvik_count_validation(NarvikVerdict verdict);

static inline bool
narvik_is_valid(NarvikVerdict verdict)
{
	return verdict == NARVIK_IS_VALID || verdict == NARVIK_IS_DUE ||
		verdict == NARVIK_IS_EXTENDED;
}

#endif							/* NARVIK_VALIDATE_H */
