/*
 * encoding.c
 *		Text forms of tokens and session ids.
 *
 * Pure: bytes in, characters out, nothing allocated, no server needed, so
 * that a fuzzer can be linked to it.  Nothing here ends a string with a NUL.
 */
#include "encoding.h"

/*
 * Write 20 random bytes as base32 (RFC 4648 section 6) in lower case without
 * padding: the form of Narvik's tokens.  20 bytes are four groups of 40 bits,
 * so nothing is left over.
 */
void
narvik_print_token(const unsigned char *bytes, char *token)
{
	static const char alphabet[] = "abcdefghijklmnopqrstuvwxyz234567";
	unsigned int buffer = 0;
	int			bits = 0;

	for (int i = 0; i < NARVIK_TOKEN_BYTES; i++)
	{
		buffer = (buffer << 8) | bytes[i];
		bits += 8;
		while (bits >= 5)
		{
			bits -= 5;
			*token++ = alphabet[(buffer >> bits) & 0x1f];
		}
	}
}

static int
hex_digit_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

/*
 * Read a session id.  Returns false, leaving *id undefined, if the text is
 * not exactly 64 hex digits; upper case is accepted.
 */
bool
narvik_parse_id(const char *hex, size_t len, unsigned char *id)
{
	if (len != NARVIK_ID_CHARS)
		return false;

	for (int i = 0; i < NARVIK_ID_BYTES; i++)
	{
		int			high = hex_digit_value(hex[2 * i]);
		int			low = hex_digit_value(hex[2 * i + 1]);

		if (high < 0 || low < 0)
			return false;
		id[i] = (unsigned char) (high << 4 | low);
	}
	return true;
}

/*
 * Write a session id as 64 lower-case hex digits.
 */
void
narvik_print_id(const unsigned char *id, char *hex)
{
	static const char digits[] = "0123456789abcdef";

	for (int i = 0; i < NARVIK_ID_BYTES; i++)
	{
		*hex++ = digits[id[i] >> 4];
		*hex++ = digits[id[i] & 0x0f];
	}
}
