/*
 * identity.h
 *		Who this transaction is.
 */
#ifndef NARVIK_IDENTITY_H
#define NARVIK_IDENTITY_H

extern void narvik_identity_init(void);
extern void narvik_identity_set(const text *user_id,
								const unsigned char *session_id);
extern void narvik_identity_clear(void);
extern bool narvik_identity_session(unsigned char *id);
extern void narvik_identity_session_ended(const unsigned char *id);
extern void narvik_identity_session_became(const unsigned char *old_id,
										   const unsigned char *new_id,
										   const text *user_id);
extern void narvik_identity_user_ended(const text *user_id,
									   const unsigned char *except_id);
extern void narvik_identity_users_ended(void);
extern void narvik_identity_user_renamed(const text *old_id, const text *new_id);

#endif							/* NARVIK_IDENTITY_H */
