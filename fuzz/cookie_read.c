/*
 * cookie_read.c
 *		Fuzzer of src/cookie.c: any Cookie header, any name.
 *
 * - What is found is what a plain reading of RFC 6265 section 4.2.1 finds.
 * - It lies within the header, and has neither a semicolon nor white space
 *   around it, but for white space in double quotes.
 * - Other cookies before and behind change nothing; of two, the first wins.
 */
#include "../src/cookie.h"

#include "fuzz.h"

static bool
is_space(char c)
{
	return c == ' ' || c == '\t';
}

/* Whether text from "from" to "to", white space around it left out, is this. */
static bool
is_trimmed(const char *text, size_t from, size_t to, const char *wanted)
{
	while (from < to && is_space(text[from]))
		from++;
	while (from < to && is_space(text[to - 1]))
		to--;
	return to - from == strlen(wanted) && memcmp(text + from, wanted, to - from) == 0;
}

/* The plain reading, character by character. */
static bool
read_plainly(const char *header, size_t len, const char *name, size_t *from, size_t *to)
{
	size_t		start = 0;

	while (start < len)
	{
		size_t		end = start;
		size_t		equals;

		while (end < len && header[end] != ';')
			end++;
		for (equals = start; equals < end && header[equals] != '='; equals++)
			;
		if (equals < end && is_trimmed(header, start, equals, name))
		{
			*from = equals + 1;
			*to = end;
			while (*from < *to && is_space(header[*from]))
				(*from)++;
			while (*from < *to && is_space(header[*to - 1]))
				(*to)--;
			if (*to - *from >= 2 && header[*from] == '"' && header[*to - 1] == '"')
			{
				(*from)++;
				(*to)--;
			}
			return true;
		}
		start = end + 1;
	}
	return false;
}

/* The header with something put around it, searched again. */
static void
check_surrounded(const char *before, const char *header, size_t len, const char *behind,
				 const char *name, bool found, const char *value, size_t value_len)
{
	size_t		before_len = strlen(before);
	size_t		behind_len = strlen(behind);
	size_t		whole_len = before_len + len + behind_len;
	char	   *whole = malloc(whole_len > 0 ? whole_len : 1);
	const char *again = NULL;
	size_t		again_len = 0;

	memcpy(whole, before, before_len);
	memcpy(whole + before_len, header, len);
	memcpy(whole + before_len + len, behind, behind_len);
	EXPECT(narvik_find_cookie(whole, whole_len, name, &again, &again_len) == found);
	if (found)
	{
		EXPECT(again_len == value_len);
		EXPECT(memcmp(again, value, value_len) == 0);
	}
	free(whole);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	Input		input = {data, size};
	char	   *name = take_string(&input, 0);
	size_t		len;
	char	   *header = take_rest(&input, &len);
	const char *value = (const char *) &input;
	size_t		value_len = 4711;
	size_t		from;
	size_t		to;
	bool		found = narvik_find_cookie(header, len, name, &value, &value_len);

	EXPECT(found == read_plainly(header, len, name, &from, &to));
	if (!found)
	{
		EXPECT(value == (const char *) &input && value_len == 4711);
	}
	else
	{
		EXPECT(value >= header && value_len <= len && value <= header + len - value_len);
		EXPECT((size_t) (value - header) == from && value_len == to - from);
		EXPECT(value_len == 0 || memchr(value, ';', value_len) == NULL);
		EXPECT(value_len == 0 || value[-1] == '"' ||
			   (!is_space(value[0]) && !is_space(value[value_len - 1])));
		EXPECT(narvik_cookie_name_flaw(name) != NULL || strchr(name, '=') == NULL);
	}
	if (name[0] != '\0' && strcmp(name, "x") != 0)
	{
		check_surrounded("x=1;", header, len, "", name, found, value, value_len);
		check_surrounded("; ;;=;x;\t x=;", header, len, ";x=\"2", name, found, value, value_len);
	}
	free(header);
	free(name);
	return 0;
}
