/*
 * narvik.c
 *		Module entry.
 *
 * docs/architecture.md tells which file is about what.
 */
#include "postgres.h"
#include "compat.h"

#include "fmgr.h"
#include "utils/guc.h"

#include "cookie_functions.h"
#include "policy.h"
#include "relation.h"

PG_MODULE_MAGIC;

void		_PG_init(void);

void
_PG_init(void)
{
	narvik_policy_init();
	narvik_cookie_functions_init();
	narvik_relation_init();
	MarkGUCPrefixReserved("narvik");
}
