/*
 * identity.h
 *		Who this transaction is.
 */
#ifndef NARVIK_IDENTITY_H
#define NARVIK_IDENTITY_H

#include "utils/jsonb.h"
#include "utils/timestamp.h"

/* A session as an identity. */
typedef struct NarvikIdentity
{
	const unsigned char *session_id;
	const text *user_id;		/* NULL: a guest */
	TimestampTz authenticated_at;	/* DT_NOBEGIN: never */
	const struct varlena *data; /* a jsonb, maybe as it is in the table */
} NarvikIdentity;

extern void narvik_identity_init(void);
extern void narvik_identity_set(const NarvikIdentity *identity);
extern void narvik_identity_clear(void);
extern bool narvik_identity_session(unsigned char *id);
extern void narvik_identity_session_ended(const unsigned char *id);
extern void narvik_identity_session_became(const unsigned char *old_id,
										   const NarvikIdentity *identity);
extern void narvik_identity_session_renamed(const unsigned char *old_id,
											const unsigned char *new_id);
extern void narvik_identity_data_changed(const unsigned char *id,
										 const Jsonb *data);
extern void narvik_identity_user_ended(const text *user_id,
									   const unsigned char *except_id);
extern void narvik_identity_users_ended(void);
extern void narvik_identity_user_renamed(const text *old_id, const text *new_id);

#endif							/* NARVIK_IDENTITY_H */
