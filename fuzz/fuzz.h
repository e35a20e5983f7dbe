/*
 * fuzz.h
 *		What the fuzzers of the pure rooms share: cutting the input into
 *		pieces, and stopping when a property does not hold.
 *
 * A fuzzer includes this file, is linked to the room it is for and to nothing
 * of PostgreSQL.  What narvik says is compared with what this folder says,
 * which is written in another way on purpose: slow, plain, from the RFCs.
 */
#ifndef NARVIK_FUZZ_H
#define NARVIK_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPECT(condition) \
	do { \
		if (!(condition)) \
		{ \
			fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #condition); \
			abort(); \
		} \
	} while (0)

typedef struct Input
{
	const uint8_t *data;
	size_t		size;
} Input;

/* A number; 0 when the input is used up. */
static inline uint64_t
take_number(Input *input, size_t bytes)
{
	uint64_t	number = 0;

	for (; bytes > 0 && input->size > 0; bytes--)
	{
		number = number << 8 | *input->data++;
		input->size--;
	}
	return number;
}

/*
 * Bytes in memory of exactly their size, so that AddressSanitizer sees the
 * first byte read before or behind them.
 */
static inline char *
copy_of(const void *bytes, size_t len)
{
	char	   *copy = malloc(len > 0 ? len : 1);

	if (len > 0)
		memcpy(copy, bytes, len);
	return copy;
}

/*
 * A string: up to the next NUL.  Its last character is repeated so often as
 * the caller likes: limits of thousands of bytes are reached by a short input.
 */
static inline char *
take_string(Input *input, size_t repeated)
{
	const uint8_t *end = input->size > 0 ? memchr(input->data, 0, input->size) : NULL;
	size_t		len = end ? (size_t) (end - input->data) : input->size;
	char	   *string = malloc(len + repeated + 1);

	if (len > 0)
		memcpy(string, input->data, len);
	if (len == 0)
		repeated = 0;
	for (size_t i = 0; i < repeated; i++)
		string[len + i] = string[len - 1];
	string[len + repeated] = '\0';
	input->data += len + (end != NULL);
	input->size -= len + (end != NULL);
	return string;
}

/* The rest of the input. */
static inline char *
take_rest(Input *input, size_t *len)
{
	char	   *rest = copy_of(input->data, input->size);

	*len = input->size;
	input->data += input->size;
	input->size = 0;
	return rest;
}

#endif							/* NARVIK_FUZZ_H */
