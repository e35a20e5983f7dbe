/*
 * print_tokens.c
 *		Reads 20 bytes in hex a line and prints the token they make.
 *
 * SQL can make tokens of random bytes only; this makes them of known ones.
 */
#include <stdio.h>

#include "encoding.h"

int
main(void)
{
	unsigned char bytes[NARVIK_TOKEN_BYTES];
	char		token[NARVIK_TOKEN_CHARS];
	unsigned int byte;
	int			n = 0;

	while (scanf("%2x", &byte) == 1)
	{
		bytes[n++] = (unsigned char) byte;
		if (n == NARVIK_TOKEN_BYTES)
		{
			narvik_print_token(bytes, token);
			printf("%.*s\n", NARVIK_TOKEN_CHARS, token);
			n = 0;
		}
	}
	return n != 0;
}
