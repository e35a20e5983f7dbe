# narvik: built with PGXS.  make && make install && make installcheck
# WERROR=1 turns warnings into errors.  installcheck needs a running server, with
# narvik preloaded or not; TAP_TESTS=1, or PROVE_TESTS with some of their names,
# adds the tests in t/, which start their own.

MODULE_big = narvik
# From the top downwards: a module calls those below it, which scripts/lint checks.
OBJS = \
	src/narvik.o \
	src/link_make.o \
	src/link_trigger.o \
	src/grants.o \
	src/session.o \
	src/create.o \
	src/request.o \
	src/callbacks.o \
	src/worker.o \
	src/purge.o \
	src/purge_pace.o \
	src/cookie_functions.o \
	src/validate.o \
	src/link_user.o \
	src/link.o \
	src/store_insert.o \
	src/store_write.o \
	src/store_touch.o \
	src/store_sweep.o \
	src/store_list.o \
	src/store_lock.o \
	src/store_read.o \
	src/events.o \
	src/store_run.o \
	src/stats.o \
	src/identity.o \
	src/relation.o \
	src/call.o \
	src/policy.o \
	src/token.o \
	src/sql.o \
	src/cookie.o \
	src/encoding.o

EXTENSION = narvik
DATA = narvik--1.0.sql
PGFILEDESC = "narvik - login sessions inside the database"

REGRESS = $(patsubst sql/%.sql,%,$(sort $(wildcard sql/*.sql)))
ISOLATION = $(patsubst specs/%.spec,%,$(sort $(wildcard specs/*.spec)))
ISOLATION_OPTS = --load-extension=pgcrypto --load-extension=narvik
ifdef PROVE_TESTS
TAP_TESTS = 1
endif
# The tests have text that not every encoding has.
ENCODING = UTF8
NO_LOCALE = 1

PG_CONFIG ?= pg_config
DISTVERSION = $(shell sed -n 's/^   "version": "\(.*\)",/\1/p' META.json)
# Warnings are ours to mend, those inside the server's headers are not.
PG_CPPFLAGS = -isystem $(shell $(PG_CONFIG) --includedir-server) -DNARVIK_VERSION='"$(DISTVERSION)"'
PG_CFLAGS = -Wall -Wextra -Wno-unused-parameter $(if $(WERROR),-Werror)

PGXS := $(shell $(PG_CONFIG) --pgxs)
include $(PGXS)

# PGXS knows no header dependencies; the project is small enough to rebuild.
$(OBJS) $(OBJS:.o=.bc): $(wildcard src/*.h)
# Only this module says the version.
src/narvik.o src/narvik.bc: META.json

# What PGXN and packagers get: the last commit, without what .gitattributes
# keeps out.
dist:
	git archive --format=zip --prefix=narvik-$(DISTVERSION)/ -o narvik-$(DISTVERSION).zip HEAD
.PHONY: dist
