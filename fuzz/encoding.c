/*
 * encoding.c
 *		Fuzzer of src/encoding.c: tokens and session ids as text.
 *
 * - A token has 32 characters of a-z and 2-7, and base32 decoded is what it
 *   was made of.
 * - A text is a session id if, and only if, it is 64 hex digits; printed, it
 *   is the same in lower case; printed and read, it is the same id.
 */
#include "../src/encoding.h"

#include "fuzz.h"

/* RFC 4648 section 6, bit by bit. */
static void
check_token(const unsigned char *bytes)
{
	static const char alphabet[] = "abcdefghijklmnopqrstuvwxyz234567";
	char	   *token = malloc(NARVIK_TOKEN_CHARS);

	narvik_print_token(bytes, token);
	EXPECT(NARVIK_TOKEN_CHARS * 5 == NARVIK_TOKEN_BYTES * 8);
	for (int i = 0; i < NARVIK_TOKEN_CHARS; i++)
	{
		const char *at = memchr(alphabet, token[i], 32);

		EXPECT(at != NULL);
		for (int bit = 0; bit < 5; bit++)
		{
			int			nth = 5 * i + bit;

			EXPECT(((at - alphabet) >> (4 - bit) & 1) == (bytes[nth / 8] >> (7 - nth % 8) & 1));
		}
	}
	free(token);
}

static bool
is_hex(const char *text, size_t len)
{
	static const char digits[] = "0123456789abcdefABCDEF";

	for (size_t i = 0; i < len; i++)
	{
		if (memchr(digits, text[i], sizeof(digits) - 1) == NULL)
			return false;
	}
	return true;
}

static void
check_id(const char *text, size_t len)
{
	unsigned char *id = malloc(NARVIK_ID_BYTES);
	bool		parsed = narvik_parse_id(text, len, id);

	EXPECT(parsed == (len == NARVIK_ID_CHARS && is_hex(text, len)));
	if (parsed)
	{
		char	   *printed = malloc(NARVIK_ID_CHARS);
		unsigned char *again = malloc(NARVIK_ID_BYTES);

		narvik_print_id(id, printed);
		for (int i = 0; i < NARVIK_ID_CHARS; i++)
			EXPECT(printed[i] == (text[i] >= 'A' && text[i] <= 'F' ? text[i] | 0x20 : text[i]));
		EXPECT(narvik_parse_id(printed, NARVIK_ID_CHARS, again));
		EXPECT(memcmp(id, again, NARVIK_ID_BYTES) == 0);
		free(again);
		free(printed);
	}
	free(id);
}

static void
check_printed_id(const unsigned char *bytes)
{
	char	   *printed = malloc(NARVIK_ID_CHARS);
	unsigned char *again = malloc(NARVIK_ID_BYTES);

	narvik_print_id(bytes, printed);
	EXPECT(narvik_parse_id(printed, NARVIK_ID_CHARS, again));
	EXPECT(memcmp(bytes, again, NARVIK_ID_BYTES) == 0);
	free(again);
	free(printed);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char	   *text = copy_of(data, size);

	if (size == NARVIK_TOKEN_BYTES)
		check_token((unsigned char *) text);
	if (size == NARVIK_ID_BYTES)
		check_printed_id((unsigned char *) text);
	check_id(text, size);
	free(text);
	return 0;
}
