/*
 * cookie_write.c
 *		Fuzzer of src/cookie.c: any settings, any token.
 *
 * - Each setting, and their combination, is refused if, and only if, browsers
 *   would refuse or mistake it, as this file reads the RFCs.
 * - What is written has no control character, and read as browsers read it
 *   (RFC 6265 section 5.2) it says what the settings say and nothing else.
 * - Its length is foretold to the byte; a smaller buffer is never overrun.
 * - What a browser sends back, narvik reads: the same token.
 */
#include <inttypes.h>
#include <strings.h>

#include "../src/cookie.h"

#include "fuzz.h"

/* ---- what the RFCs allow ------------------------------------------------ */

#define LETTERS_AND_DIGITS \
	"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"

static bool
consists_of(const char *text, size_t len, const char *allowed)
{
	for (size_t i = 0; i < len; i++)
	{
		if (text[i] == '\0' || strchr(allowed, text[i]) == NULL)
			return false;
	}
	return true;
}

static bool
name_is_fine(const char *name)
{
	size_t		len = strlen(name);

	return len > 0 && len <= 4096 &&
		consists_of(name, len, LETTERS_AND_DIGITS "!#$%&'*+-.^_`|~");
}

/* cookie-octet: %x21 / %x23-2B / %x2D-3A / %x3C-5B / %x5D-7E */
static bool
value_is_fine(const char *value, size_t len)
{
	for (size_t i = 0; i < len; i++)
	{
		unsigned char c = value[i];

		if (!(c == 0x21 || (c >= 0x23 && c <= 0x2B) || (c >= 0x2D && c <= 0x3A) ||
			  (c >= 0x3C && c <= 0x5B) || (c >= 0x5D && c <= 0x7E)))
			return false;
	}
	return true;
}

static bool
domain_is_fine(const char *domain)
{
	size_t		len = strlen(domain);
	size_t		label = 0;

	if (len > 253)
		return false;
	if (len == 0)
		return true;
	for (size_t i = 0; i <= len; i++)
	{
		if (domain[i] != '.' && domain[i] != '\0')
			continue;
		if (i == label || i - label > 63 || domain[label] == '-' || domain[i - 1] == '-' ||
			!consists_of(domain + label, i - label, LETTERS_AND_DIGITS "-"))
			return false;
		label = i + 1;
	}
	return true;
}

/* av-octets: any CHAR except CTLs or ";" */
static bool
path_is_fine(const char *path)
{
	size_t		len = strlen(path);

	if (len == 0 || len > 1024 || path[0] != '/' || path[len - 1] == ' ')
		return false;
	for (size_t i = 0; i < len; i++)
	{
		unsigned char c = path[i];

		if (c < 0x20 || c >= 0x7F || c == ';')
			return false;
	}
	return true;
}

static bool
begins(const char *text, const char *prefix)
{
	return strncasecmp(text, prefix, strlen(prefix)) == 0;
}

static bool
goes_together(const NarvikCookie *cookie)
{
	bool		host = begins(cookie->name, "__Host-");
	bool		needs_secure = host || begins(cookie->name, "__Secure-") ||
		begins(cookie->name, "__Http-") || cookie->partitioned ||
		cookie->same_site == NARVIK_SAME_SITE_NONE;

	return (cookie->secure || !needs_secure) &&
		!(host && (cookie->domain[0] != '\0' || strcmp(cookie->path, "/") != 0));
}

/* ---- how a browser reads it --------------------------------------------- */

/* The next attribute, as text with a NUL; NULL at the end. */
static char *
next_attribute(const char **rest, const char *end)
{
	const char *start = *rest;
	const char *stop;
	char	   *attribute;

	if (start == end)
		return NULL;
	EXPECT(*start == ';');
	for (stop = ++start; stop < end && *stop != ';'; stop++)
		;
	*rest = stop;
	EXPECT(start < stop && *start == ' ');
	start++;
	attribute = malloc(stop - start + 1);
	memcpy(attribute, start, stop - start);
	attribute[stop - start] = '\0';
	return attribute;
}

static void
expect_attribute(const char **rest, const char *end, const char *name, const char *value)
{
	char	   *attribute = next_attribute(rest, end);
	size_t		name_len = strlen(name);

	EXPECT(attribute != NULL);
	EXPECT(strncmp(attribute, name, name_len) == 0);
	if (value == NULL)
		EXPECT(attribute[name_len] == '\0');
	else
	{
		EXPECT(attribute[name_len] == '=');
		EXPECT(strcmp(attribute + name_len + 1, value) == 0);
		EXPECT(strlen(value) <= 1024);
	}
	free(attribute);
}

static void
check_browser_reads(const char *text, size_t len, const NarvikCookie *cookie,
					const char *value, size_t value_len)
{
	const char *end = text + len;
	const char *rest = memchr(text, ';', len);
	const char *equals = memchr(text, '=', len);
	char		max_age[32];

	for (const char *c = text; c < end; c++)
		EXPECT((unsigned char) *c >= 0x20 && (unsigned char) *c < 0x7F);

	EXPECT(rest != NULL && equals != NULL && equals < rest);
	EXPECT((size_t) (equals - text) == strlen(cookie->name));
	EXPECT(memcmp(text, cookie->name, equals - text) == 0);
	EXPECT((size_t) (rest - equals - 1) == value_len);
	EXPECT(memcmp(equals + 1, value, value_len) == 0);
	EXPECT(strlen(cookie->name) + value_len <= 4096);

	snprintf(max_age, sizeof(max_age), "%lld", (long long) cookie->max_age);
	if (cookie->domain[0] != '\0')
		expect_attribute(&rest, end, "Domain", cookie->domain);
	if (cookie->max_age != NARVIK_COOKIE_NO_MAX_AGE)
		expect_attribute(&rest, end, "Max-Age", max_age);
	expect_attribute(&rest, end, "Path", cookie->path);
	expect_attribute(&rest, end, "SameSite",
					 cookie->same_site == NARVIK_SAME_SITE_LAX ? "Lax" :
					 cookie->same_site == NARVIK_SAME_SITE_STRICT ? "Strict" : "None");
	if (cookie->secure)
		expect_attribute(&rest, end, "Secure", NULL);
	expect_attribute(&rest, end, "HttpOnly", NULL);
	if (cookie->partitioned)
		expect_attribute(&rest, end, "Partitioned", NULL);
	EXPECT(rest == end);
}

static void
check_comes_back(const char *name, const char *value, size_t value_len)
{
	static const char before[] = "a=1; \xff\x01 =;; narvik; ";
	static const char behind[] = "; b=\"2\"";
	size_t		name_len = strlen(name);
	size_t		len = sizeof(before) - 1 + name_len + 1 + value_len + sizeof(behind) - 1;
	char	   *header = malloc(len);
	char	   *at = header;
	const char *found;
	size_t		found_len;

	if (strcmp(name, "a") == 0)
	{
		free(header);
		return;
	}
	memcpy(at, before, sizeof(before) - 1);
	at += sizeof(before) - 1;
	memcpy(at, name, name_len);
	at += name_len;
	*at++ = '=';
	memcpy(at, value, value_len);
	at += value_len;
	memcpy(at, behind, sizeof(behind) - 1);

	EXPECT(narvik_find_cookie(header, len, name, &found, &found_len));
	EXPECT(found_len == value_len && memcmp(found, value, value_len) == 0);
	free(header);
}

/* ---- one input ---------------------------------------------------------- */

/* Whatever was refused before: writing must stay within the buffer. */
static char *
print_in_buffers(const NarvikCookie *cookie, const char *value, size_t value_len,
				 size_t smaller, size_t *len)
{
	char	   *text;
	char	   *buffer;

	*len = narvik_print_cookie(cookie, value, value_len, NULL, 0);
	text = malloc(*len);
	EXPECT(narvik_print_cookie(cookie, value, value_len, text, *len) == *len);

	smaller %= *len;
	buffer = malloc(smaller > 0 ? smaller : 1);
	EXPECT(narvik_print_cookie(cookie, value, value_len, buffer, smaller) == *len);
	free(buffer);
	return text;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	Input		input = {data, size};
	unsigned	flags = (unsigned) take_number(&input, 1);
	unsigned	repeats = (unsigned) take_number(&input, 1);
	size_t		repeated = 17 * (size_t) take_number(&input, 1) + (flags >> 4);
	int64_t		max_age = (int64_t) take_number(&input, flags & 8 ? 8 : 2);
	char	   *name = take_string(&input, repeats & 1 ? repeated : 0);
	char	   *domain = take_string(&input, repeats & 2 ? repeated / 16 : 0);
	char	   *path = take_string(&input, repeats & 4 ? repeated / 4 : 0);
	NarvikCookie cookie = {
		.name = name, .domain = domain, .path = path,
		.max_age = repeats & 8 ? NARVIK_COOKIE_NO_MAX_AGE : max_age,
		.same_site = (NarvikSameSite) (repeats / 64 % 3),
		.secure = flags & 1, .partitioned = flags & 2
	};
	char	   *token;
	char	   *value;
	size_t		value_len;
	char	   *text;
	size_t		len;
	bool		fine;

	if (repeats & 8)
	{
		/* Of a C string the NUL is kept out, so that its size is the length. */
		token = take_string(&input, repeated);
		value_len = strlen(token);
		value = copy_of(token, value_len);
		free(token);
	}
	else
		value = take_rest(&input, &value_len);

	EXPECT((narvik_cookie_name_flaw(name) == NULL) == name_is_fine(name));
	EXPECT((narvik_cookie_domain_flaw(domain) == NULL) == domain_is_fine(domain));
	EXPECT((narvik_cookie_path_flaw(path) == NULL) == path_is_fine(path));
	EXPECT(narvik_is_cookie_value(value, value_len) == value_is_fine(value, value_len));
	EXPECT(narvik_cookie_has_room(name, value_len) == (strlen(name) + value_len <= 4096));
	EXPECT((narvik_cookie_conflict(&cookie) == NARVIK_COOKIE_NO_CONFLICT) == goes_together(&cookie));

	text = print_in_buffers(&cookie, value, value_len, flags * 251u + repeats, &len);
	fine = !narvik_cookie_name_flaw(name) && !narvik_cookie_domain_flaw(domain) &&
		!narvik_cookie_path_flaw(path) && narvik_is_cookie_value(value, value_len) &&
		narvik_cookie_has_room(name, value_len) && !narvik_cookie_conflict(&cookie);
	if (fine)
	{
		check_browser_reads(text, len, &cookie, value, value_len);
		check_comes_back(name, value, value_len);
	}

	free(text);
	free(value);
	free(path);
	free(domain);
	free(name);
	return 0;
}
