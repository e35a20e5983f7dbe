/*
 * token.c
 *		Random tokens, and the session id of a token.
 *
 * Random bytes are pgcrypto's.  Its C function is taken from the library
 * itself, once per process and not before it is needed: neither search_path
 * nor the schema pgcrypto is installed in can come between, and no other
 * function can pose as it.
 *
 * SHA-256 is the server's, which is the same OpenSSL's as pgcrypto's, but lets
 * a context be kept: pgcrypto's makes one for each call, and looks the
 * algorithm up by its name (bench/notes.md has what that costs).
 *
 * A token never appears in a message from this file.
 */
#include "postgres.h"
#include "compat.h"

#include "catalog/namespace.h"
#include "common/cryptohash.h"
#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/resowner.h"

#include "token.h"

PG_FUNCTION_INFO_V1(narvik_generate_token);
PG_FUNCTION_INFO_V1(narvik_session_id);

text *
narvik_new_token(void)
{
	static PGFunction random_bytes = NULL;
	bytea	   *bytes;
	text	   *token;

	if (random_bytes == NULL)
		random_bytes = load_external_function("$libdir/pgcrypto", "pg_random_bytes",
											  true, NULL);

	bytes = DatumGetByteaPP(DirectFunctionCall1(random_bytes,
												Int32GetDatum(NARVIK_TOKEN_BYTES)));
	Assert(VARSIZE_ANY_EXHDR(bytes) == NARVIK_TOKEN_BYTES);

	token = (text *) palloc(VARHDRSZ + NARVIK_TOKEN_CHARS);
	SET_VARSIZE(token, VARHDRSZ + NARVIK_TOKEN_CHARS);
	narvik_print_token((unsigned char *) VARDATA_ANY(bytes), VARDATA(token));
	pfree(bytes);
	return token;
}

/*
 * The process's SHA-256 context.  Contexts belong to a resource owner and go
 * with it; this one's lives as long as the process.
 */
static pg_cryptohash_ctx *
sha256_context(void)
{
	static pg_cryptohash_ctx *context = NULL;

	if (context == NULL)
	{
		ResourceOwner old = CurrentResourceOwner;

		/* An error's abort puts the old one back. */
		CurrentResourceOwner = ResourceOwnerCreate(NULL, "narvik SHA-256");
		context = pg_cryptohash_create(PG_SHA256);
		CurrentResourceOwner = old;
	}
	return context;
}

static bool
sha256(const char *data, int len, unsigned char *digest)
{
	pg_cryptohash_ctx *context = sha256_context();

	return pg_cryptohash_init(context) >= 0 &&
		pg_cryptohash_update(context, (const uint8 *) data, len) >= 0 &&
		pg_cryptohash_final(context, digest, NARVIK_ID_BYTES) >= 0;
}

/*
 * OpenSSL starts up at its first hash.  Let that be the postmaster's, where
 * narvik is preloaded, and every connection inherits it.  If it does not
 * succeed, whoever needs a hash will say so.
 */
void
narvik_token_init(void)
{
	if (process_shared_preload_libraries_in_progress)
	{
		unsigned char digest[NARVIK_ID_BYTES];

		(void) sha256("", 0, digest);
	}
}

static bool
is_ascii(const char *s, int len)
{
	for (int i = 0; i < len; i++)
	{
		if (IS_HIGHBIT_SET(s[i]))
			return false;
	}
	return true;
}

/*
 * The token as UTF-8, which is what clients hash.  NULL if the text has
 * characters that UTF-8 lacks: then no client can have made it.
 */
static const text *
token_as_utf8(const text *token)
{
	int			encoding = GetDatabaseEncoding();
	int			len = VARSIZE_ANY_EXHDR(token);
	Oid			conversion;
	text	   *utf8;
	Size		room;
	int			converted;

	if (encoding == PG_UTF8 || encoding == PG_SQL_ASCII ||
		is_ascii(VARDATA_ANY(token), len))
		return token;

	conversion = FindDefaultConversionProc(encoding, PG_UTF8);
	if (!OidIsValid(conversion))
		return NULL;

	room = (Size) len * MAX_CONVERSION_GROWTH + 1;
	utf8 = (text *) palloc(VARHDRSZ + room);
	converted = pg_do_encoding_conversion_buf(conversion, encoding, PG_UTF8,
											  (unsigned char *) VARDATA_ANY(token),
											  len,
											  (unsigned char *) VARDATA(utf8),
											  (int) room, true);
	if (converted != len)
		return NULL;
	SET_VARSIZE(utf8, VARHDRSZ + strlen(VARDATA(utf8)));
	return utf8;
}

/*
 * The session id of a token: SHA-256 of its UTF-8 text.  The token must be
 * detoasted; false if it has no UTF-8 form.
 */
bool
narvik_token_id(const text *token, unsigned char *id)
{
	const text *utf8 = token_as_utf8(token);

	if (utf8 == NULL)
		return false;
	if (!sha256(VARDATA_ANY(utf8), VARSIZE_ANY_EXHDR(utf8), id))
		elog(ERROR, "could not compute SHA-256");
	return true;
}

/* A session id as 64 lower-case hex digits. */
text *
narvik_id_text(const unsigned char *id)
{
	text	   *hex = (text *) palloc(VARHDRSZ + NARVIK_ID_CHARS);

	SET_VARSIZE(hex, VARHDRSZ + NARVIK_ID_CHARS);
	narvik_print_id(id, VARDATA(hex));
	return hex;
}

/* The same as it is stored, a bytea. */
Datum
narvik_id_datum(const unsigned char *id)
{
	bytea	   *result = (bytea *) palloc(VARHDRSZ + NARVIK_ID_BYTES);

	SET_VARSIZE(result, VARHDRSZ + NARVIK_ID_BYTES);
	memcpy(VARDATA(result), id, NARVIK_ID_BYTES);
	return PointerGetDatum(result);
}

/*
 * narvik_generate_token() returns text
 *
 * 20 random bytes as 32 base32 characters: Narvik's generateToken.
 */
Datum
narvik_generate_token(PG_FUNCTION_ARGS)
{
	PG_RETURN_TEXT_P(narvik_new_token());
}

/*
 * narvik_session_id(token text) returns text
 *
 * 64 lower-case hex digits; strict.  Raises untranslatable_character if the
 * token has characters that UTF-8 lacks.
 */
Datum
narvik_session_id(PG_FUNCTION_ARGS)
{
	unsigned char id[NARVIK_ID_BYTES];

	if (!narvik_token_id(PG_GETARG_TEXT_PP(0), id))
		ereport(ERROR,
				(errcode(ERRCODE_UNTRANSLATABLE_CHARACTER),
				 errmsg("token cannot be represented in UTF-8")));
	PG_RETURN_TEXT_P(narvik_id_text(id));
}
