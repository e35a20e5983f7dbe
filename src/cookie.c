/*
 * cookie.c
 *		Text of the session cookie: what may stand in it, Set-Cookie written,
 *		Cookie read.
 *
 * Pure: characters in, characters out, nothing allocated, no server needed,
 * so that a fuzzer can be linked to it.
 *
 * A cookie that a browser ignores or understands otherwise shows as users who
 * cannot stay logged in, so everything of that kind is found here before the
 * cookie is sent.  "6265bis" is draft-ietf-httpbis-rfc6265bis.
 *
 * Text is taken octet by octet and compared with ASCII only.  Octets above
 * 127 are never part of an ASCII character in any server encoding of
 * PostgreSQL, so the encoding does not matter.
 */
#include "cookie.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define MAX_HOST_NAME	253
#define MAX_LABEL		63
#define MAX_ATTRIBUTE	1024

/* ---- what may stand in a cookie ----------------------------------------- */

/* Not isalnum(): that one follows the locale. */
static bool
is_letter_or_digit(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
		(c >= '0' && c <= '9');
}

/* Of the octets 0x20 to 0x7E: not a control, not beyond ASCII. */
static bool
is_printable(char c)
{
	return c >= ' ' && c <= '~';
}

/*
 * What is wrong with a cookie's name, as a sentence, or NULL.
 *
 * A name is a token (RFC 6265 section 4.1.1, RFC 7230 section 3.2.6).
 */
const char *
narvik_cookie_name_flaw(const char *name)
{
	if (*name == '\0')
		return "A cookie's name cannot be empty.";
	if (strlen(name) > NARVIK_COOKIE_MAX_BYTES)
		return "A cookie's name is at most 4096 bytes long.";
	for (const char *c = name; *c; c++)
	{
		if (!is_letter_or_digit(*c) && !strchr("!#$%&'*+-.^_`|~", *c))
			return "A cookie's name consists of ASCII letters, digits and !#$%&'*+-.^_`|~ only.";
	}
	return NULL;
}

static const char *
label_flaw(const char *label, size_t len)
{
	if (len == 0)
		return "A host name has no empty label.";
	if (len > MAX_LABEL)
		return "A label of a host name is at most 63 characters long.";
	for (size_t i = 0; i < len; i++)
	{
		if (!is_letter_or_digit(label[i]) && label[i] != '-')
			return "A host name consists of ASCII letters, digits, hyphens and dots only.";
	}
	if (label[0] == '-' || label[len - 1] == '-')
		return "A label of a host name neither begins nor ends with a hyphen.";
	return NULL;
}

/*
 * What is wrong with a cookie's domain, as a sentence, or NULL.
 *
 * A host name (6265bis section 4.1.1, RFC 1034 section 3.5, RFC 1123 section
 * 2.1), or empty.  Browsers drop a leading dot and refuse a trailing one;
 * the grammar allows neither.
 */
const char *
narvik_cookie_domain_flaw(const char *domain)
{
	size_t		len = strlen(domain);
	const char *label = domain;

	if (len == 0)
		return NULL;
	if (len > MAX_HOST_NAME)
		return "A host name is at most 253 characters long.";
	if (domain[0] == '.' || domain[len - 1] == '.')
		return "A cookie's domain neither begins nor ends with a dot.";

	for (;;)
	{
		size_t		label_len = strcspn(label, ".");
		const char *flaw = label_flaw(label, label_len);

		if (flaw || label[label_len] == '\0')
			return flaw;
		label += label_len + 1;
	}
}

/*
 * What is wrong with a cookie's path, as a sentence, or NULL.
 *
 * RFC 6265 section 4.1.1 for the characters, 5.2.4 for the slash: without it
 * browsers take the directory of the request instead.  They also strip the
 * space at the end of an attribute (5.2) and ignore an attribute of more than
 * 1024 octets (6265bis section 5.6).
 */
const char *
narvik_cookie_path_flaw(const char *path)
{
	size_t		len = strlen(path);

	if (path[0] != '/')
		return "A cookie's path begins with a slash.";
	if (len > MAX_ATTRIBUTE)
		return "A cookie's path is at most 1024 bytes long.";
	if (path[len - 1] == ' ')
		return "A cookie's path does not end with a space.";
	for (const char *c = path; *c; c++)
	{
		if (!is_printable(*c) || *c == ';')
			return "A cookie's path has no semicolon, control character or non-ASCII character.";
	}
	return NULL;
}

/*
 * Whether a cookie's value consists of cookie-octets (RFC 6265 section 4.1.1).
 */
bool
narvik_is_cookie_value(const char *value, size_t len)
{
	for (size_t i = 0; i < len; i++)
	{
		char		c = value[i];

		if (!is_printable(c) || c == ' ' || c == '"' || c == ',' ||
			c == ';' || c == '\\')
			return false;
	}
	return true;
}

/*
 * Whether a value of this length finds room beside the name: browsers ignore
 * a longer cookie (6265bis section 5.6).
 */
bool
narvik_cookie_has_room(const char *name, size_t value_len)
{
	size_t		name_len = strlen(name);

	return name_len <= NARVIK_COOKIE_MAX_BYTES &&
		value_len <= NARVIK_COOKIE_MAX_BYTES - name_len;
}

static char
lower(char c)
{
	return (char) (c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
}

/* The prefix is given in lower case. */
static bool
has_prefix(const char *name, const char *prefix)
{
	while (*prefix)
	{
		if (lower(*name++) != *prefix++)
			return false;
	}
	return true;
}

/*
 * Why browsers would ignore the cookie, though each attribute is fine.
 *
 * SameSite=None and the prefixes: 6265bis section 5.7, steps 19 to 21, which
 * compares prefixes without case.  __Http-: draft-ietf-httpbis-layered-cookies
 * section 5.4.3; what it asks for beyond Secure is HttpOnly.  Partitioned:
 * draft-cutler-httpbis-partitioned-cookies section 2.3.
 */
NarvikCookieConflict
narvik_cookie_conflict(const NarvikCookie *cookie)
{
	bool		host_prefix = has_prefix(cookie->name, "__host-");

	if (!cookie->secure)
	{
		if (cookie->same_site == NARVIK_SAME_SITE_NONE)
			return NARVIK_SAME_SITE_NONE_NEEDS_SECURE;
		if (cookie->partitioned)
			return NARVIK_PARTITIONED_NEEDS_SECURE;
		if (host_prefix || has_prefix(cookie->name, "__secure-") ||
			has_prefix(cookie->name, "__http-"))
			return NARVIK_PREFIX_NEEDS_SECURE;
	}
	if (host_prefix && cookie->domain[0] != '\0')
		return NARVIK_HOST_PREFIX_NEEDS_NO_DOMAIN;
	if (host_prefix && strcmp(cookie->path, "/") != 0)
		return NARVIK_HOST_PREFIX_NEEDS_ROOT_PATH;
	return NARVIK_COOKIE_NO_CONFLICT;
}

/* ---- Set-Cookie --------------------------------------------------------- */

typedef struct Output
{
	char	   *buffer;
	size_t		size;
	size_t		len;			/* grows beyond size; nothing is written there */
} Output;

static void
append(Output *out, const char *text, size_t len)
{
	if (out->len <= out->size && len <= out->size - out->len && len > 0)
		memcpy(out->buffer + out->len, text, len);
	out->len += len;
}

static void
append_string(Output *out, const char *text)
{
	append(out, text, strlen(text));
}

/*
 * Write the value of a Set-Cookie header (RFC 6265 section 4.1) and return its
 * length.  Like snprintf: if the buffer is smaller than that, it holds nothing
 * of use, and it may be NULL if its size is 0.  Unlike it: no NUL at the end.
 *
 * The caller has found no flaw and no conflict before.
 */
size_t
narvik_print_cookie(const NarvikCookie *cookie,
					const char *value, size_t value_len,
					char *buffer, size_t size)
{
	static const char *const same_site[] = {
		[NARVIK_SAME_SITE_LAX] = "Lax",
		[NARVIK_SAME_SITE_STRICT] = "Strict",
		[NARVIK_SAME_SITE_NONE] = "None"
	};
	Output		out = {
		.buffer = buffer,
		.size = size
	};
	char		max_age[32];

	(void) snprintf(max_age, sizeof(max_age), "%" PRId64, cookie->max_age);

	append_string(&out, cookie->name);
	append_string(&out, "=");
	append(&out, value, value_len);
	if (cookie->domain[0] != '\0')
	{
		append_string(&out, "; Domain=");
		append_string(&out, cookie->domain);
	}
	append_string(&out, "; Max-Age=");
	append_string(&out, max_age);
	append_string(&out, "; Path=");
	append_string(&out, cookie->path);
	append_string(&out, "; SameSite=");
	append_string(&out, same_site[cookie->same_site]);
	if (cookie->secure)
		append_string(&out, "; Secure");
	append_string(&out, "; HttpOnly");
	if (cookie->partitioned)
		append_string(&out, "; Partitioned");

	return out.len;
}

/* ---- Cookie ------------------------------------------------------------- */

static void
trim(const char **part, size_t *len)
{
	while (*len > 0 && (**part == ' ' || **part == '\t'))
	{
		(*part)++;
		(*len)--;
	}
	while (*len > 0 && ((*part)[*len - 1] == ' ' || (*part)[*len - 1] == '\t'))
		(*len)--;
}

/*
 * A value may stand in double quotes (RFC 6265 section 4.1.1).  Java's clients
 * put them round values that came without.
 */
static void
unquote(const char **value, size_t *len)
{
	if (*len >= 2 && (*value)[0] == '"' && (*value)[*len - 1] == '"')
	{
		(*value)++;
		*len -= 2;
	}
}

/*
 * Find a cookie in the value of a Cookie header (RFC 6265 section 4.2.1):
 * pairs of name and value, separated by semicolons.  Sets *value to where the
 * value stands in the header, without the white space and one pair of double
 * quotes around it, and returns true; else returns false and leaves both results alone.
 *
 * The first cookie of the name wins: browsers send the one with the longest
 * path first (RFC 6265 section 5.4).  Names are compared with case.  The value
 * is not checked; whatever does not follow the grammar is skipped.
 */
bool
narvik_find_cookie(const char *header, size_t len, const char *name,
				   const char **value, size_t *value_len)
{
	size_t		wanted_len = strlen(name);

	while (len > 0)
	{
		const char *semicolon = memchr(header, ';', len);
		size_t		pair_len = semicolon ? (size_t) (semicolon - header) : len;
		const char *equals = memchr(header, '=', pair_len);

		if (equals)
		{
			const char *found = header;
			size_t		found_len = equals - header;

			trim(&found, &found_len);
			if (found_len == wanted_len && memcmp(found, name, found_len) == 0)
			{
				*value = equals + 1;
				*value_len = pair_len - (*value - header);
				trim(value, value_len);
				unquote(value, value_len);
				return true;
			}
		}

		if (!semicolon)
			break;
		len -= pair_len + 1;
		header = semicolon + 1;
	}
	return false;
}
