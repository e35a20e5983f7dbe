/*
 * session.h
 *		Validation, for the rooms above.
 */
#ifndef NARVIK_SESSION_H
#define NARVIK_SESSION_H

#include "fmgr.h"

#include "store.h"

extern bool narvik_validate_token_arg(FunctionCallInfo fcinfo, int argno,
									  bool with_data, NarvikSession *session,
									  bool *extended);

#endif							/* NARVIK_SESSION_H */
