/*
 * link_trigger.c
 *		The link to the application's users at work: sessions follow the users.
 *
 * The triggers work on the newest state, whatever the isolation level of the
 * transaction that changes a user, as the triggers of foreign keys do: a
 * session that was created meanwhile must go too.
 */
#include "postgres.h"
#include "compat.h"

#include "access/htup_details.h"
#include "access/tableam.h"
#include "catalog/partition.h"
#include "commands/trigger.h"
#include "executor/tuptable.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "events.h"
#include "link.h"
#include "policy.h"
#include "stats.h"
#include "store.h"

PG_FUNCTION_INFO_V1(narvik_users_changed);

/* Somebody may have put the trigger on another table. */
static void
check_is_linked(const NarvikLink *link, Relation rel)
{
	Oid			relid = RelationGetRelid(rel);

	if (relid == link->users ||
		(rel->rd_rel->relispartition &&
		 list_member_oid(get_partition_ancestors(relid), link->users)))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("sessions are not linked to table \"%s\"",
					RelationGetRelationName(rel)),
			 errhint("Drop the triggers that call \"%s\".", NARVIK_LINK_FUNCTION)));
}

/*
 * A row that an UPDATE moves to another partition is deleted here and inserted
 * there, and nobody tells the one trigger of the other.
 */
static void
check_stays_in_partition(HeapTuple tuple)
{
	if (HeapTupleHeaderIndicatesMovedPartitions(tuple->t_data))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot change the key of a user to one of another partition"),
				 errdetail("The user's sessions could not follow."),
				 errhint("Insert the user anew, and delete the old row.")));
}

static text *
key_of_row(const NarvikLink *link, Relation rel, HeapTuple tuple)
{
	bool		isnull;

	/* A partition may have its columns in another order. */
	AttrNumber	column = get_attnum(RelationGetRelid(rel),
									get_attname(link->users, link->key, false));
	Datum		key = heap_getattr(tuple, column, RelationGetDescr(rel), &isnull);

	return isnull ? NULL : narvik_print_key(link, key);
}

/*
 * Whether a row that this command has made still has this key: a trigger of the
 * application that came before ours may have deleted the row, or changed it once
 * more.  No statement asks: to plan one evaluates expressions.
 */
static bool
key_remains(const NarvikLink *link, Relation rel, HeapTuple tuple, const text *user_id)
{
	TupleTableSlot *slot = table_slot_create(rel, NULL);
	ItemPointerData tid = tuple->t_self;
	bool		remains = false;

	/* Its versions are all ours, so none is gone. */
	while (!remains && table_tuple_fetch_row_version(rel, &tid, SnapshotAny, slot))
	{
		const text *key;
		bool		must_free;

		tuple = ExecFetchSlotHeapTuple(slot, false, &must_free);
		key = key_of_row(link, rel, tuple);
		remains = narvik_is_same_user_id(key, user_id) &&
			table_tuple_satisfies_snapshot(rel, slot, SnapshotSelf);
		if (ItemPointerEquals(&tid, &tuple->t_data->t_ctid) ||
			HeapTupleHeaderIndicatesMovedPartitions(tuple->t_data))
			break;
		tid = tuple->t_data->t_ctid;
	}
	ExecDropSingleTupleTableSlot(slot);
	return remains;
}

static void
user_deleted(const text *user_id)
{
	narvik_count(NARVIK_INVALIDATED, narvik_store_delete_for_user(user_id, NULL, NARVIK_USER_DELETED));
}

static void
user_renamed(const NarvikLink *link, const TriggerData *trigger, const text *old_id, const text *new_id)
{
	if (narvik_is_same_user_id(old_id, new_id))
		return;
	narvik_check_user_id(new_id);
	if (narvik_store_rename_user(old_id, new_id) > 0 &&
		!key_remains(link, trigger->tg_relation, trigger->tg_newtuple, new_id))
		user_deleted(new_id);
}

/*
 * narvik_users_changed() returns trigger
 *
 * Deletes the sessions of a user who is deleted, lets those of a user whose
 * key changes follow, and deletes all but those of guests when the table is truncated.
 */
Datum
narvik_users_changed(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	Relation	rel;
	NarvikLink	link;
	text	   *old_id;
	text	   *new_id = NULL;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_AFTER(trigger->tg_event) ||
		TRIGGER_FIRED_BY_INSERT(trigger->tg_event) ||
		TRIGGER_FIRED_BY_TRUNCATE(trigger->tg_event) != TRIGGER_FIRED_FOR_STATEMENT(trigger->tg_event))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function \"%s\" must be called by the triggers that narvik_link_users() makes",
						NARVIK_LINK_FUNCTION)));

	rel = trigger->tg_relation;
	link = narvik_find_link();
	if (!OidIsValid(link.users))
		return PointerGetDatum(NULL);
	check_is_linked(&link, rel);

	if (TRIGGER_FIRED_BY_TRUNCATE(trigger->tg_event))
	{
		narvik_count(NARVIK_INVALIDATED, narvik_store_delete_of_users());
		return PointerGetDatum(NULL);
	}

	if (TRIGGER_FIRED_BY_UPDATE(trigger->tg_event))
		new_id = key_of_row(&link, rel, trigger->tg_newtuple);
	else
		check_stays_in_partition(trigger->tg_trigtuple);
	old_id = key_of_row(&link, rel, trigger->tg_trigtuple);
	if (old_id != NULL && new_id == NULL)
		user_deleted(old_id);
	else if (old_id != NULL)
		user_renamed(&link, trigger, old_id, new_id);
	return PointerGetDatum(NULL);
}
