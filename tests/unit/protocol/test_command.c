/* The table of commands: each row says all that a user needs, and lookup finds it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "protocol/args.h"
#include "protocol/command.h"
#include "protocol/protocol.h"

/* A list of words, each of which is an error code. */
static bool are_codes(const char *words)
{
    while (*words) {
        char word[32];
        size_t len = strcspn(words, " ");
        snprintf(word, sizeof word, "%.*s", (int)len, words);
        if (mq_code_of(word) == MQ_INTERNAL)
            return false;
        words += len + (words[len] == ' ');
    }
    return true;
}

static void each_row_is_complete(void **unused)
{
    (void)unused;
    for (unsigned i = 0; i < command_count; i++) {
        const struct command *c = &commands[i];
        bool container = c->flags & CMD_CONTAINER;
        if (!c->name || !c->args || !c->summary || !c->reply || !c->errors || !c->since)
            fail_msg("row %u (%s) is not complete", i, c->name);
        if (!c->run && !container)
            fail_msg("%s does nothing", c->name);
        if (c->max >= 0 && c->max < c->min)
            fail_msg("%s: at least %d and at most %d arguments", c->name, c->min, c->max);
        if ((c->min > 0) && !*c->args)
            fail_msg("%s takes arguments, but does not show them", c->name);
        if (!are_codes(c->errors))
            fail_msg("%s: '%s' are not all codes", c->name, c->errors);
        if (!container && (c->max != 0 && *c->args && c->group != GROUP_HABIT) &&
            !strstr(c->errors, "BADARG") && c->run && strcmp(c->name, "CONFIG GET") != 0)
            fail_msg("%s takes arguments, but never refuses one", c->name);
        if (c->summary[strlen(c->summary) - 1] != '.' && c->summary[strlen(c->summary) - 1] != '?')
            fail_msg("%s: the summary is not a sentence", c->name);
        for (const char *at = c->name; *at; at++)
            assert_true(isupper((unsigned char)*at) || *at == ' ' || *at == '-');
    }
}

static void flags_agree_with_each_other(void **unused)
{
    (void)unused;
    for (unsigned i = 0; i < command_count; i++) {
        const struct command *c = &commands[i];
        if ((c->flags & CMD_MULTI) && !(c->flags & CMD_CHANGE))
            fail_msg("%s may stand in a MULTI, but changes nothing", c->name);
        if ((c->flags & CMD_MULTI) && (c->flags & (CMD_WAITS | CMD_HOLDS)))
            fail_msg("%s may stand in a MULTI, but waits", c->name);
        if ((c->flags & CMD_BLOCKS) && !(c->flags & CMD_HOLDS))
            fail_msg("%s blocks, but what follows does not wait for it", c->name);
        if (c->abandon && !(c->flags & CMD_BLOCKS))
            fail_msg("%s can be abandoned, but does not block", c->name);
    }
}

static void each_option_has_a_meaning(void **unused)
{
    (void)unused;
    for (unsigned i = 0; i < command_count; i++) {
        const char *at = commands[i].options;
        struct slice name, meaning;
        while (command_option(&at, &name, &meaning))
            if (!name.len || !meaning.len || !isupper((unsigned char)name.at[0]))
                fail_msg("%s: option '%.*s'", commands[i].name, SLICE_ARG(name));
    }
}

static void each_name_finds_its_row_in_any_case(void **unused)
{
    (void)unused;
    for (unsigned i = 0; i < command_count; i++) {
        char lower[64];
        snprintf(lower, sizeof lower, "%s", commands[i].name);
        for (char *at = lower; *at; at++)
            *at = (char)tolower((unsigned char)*at);
        assert_ptr_equal(&commands[i], command_named(slice_of(lower)));
        assert_ptr_equal(&commands[i], command_named(slice_of(commands[i].name)));
    }
}

/* What was typed, with blanks between the words; the row, or a part of the message. */
static const struct {
    const char *typed, *name, *error;
    unsigned words;
} lookups[] = {
    {"PUSH", "PUSH", NULL, 1},
    {"client setname", "CLIENT SETNAME", NULL, 2},
    {"COMMAND", "COMMAND", NULL, 1},
    {"COMMAND DOCS", "COMMAND DOCS", NULL, 2},
    {"COMMAND NONSENSE", NULL, "there are COUNT LIST INFO DOCS", 0},
    {"CLIENT", NULL, "CLIENT needs a subcommand (there are ID SETNAME", 0},
    {"CLIENT KILL", NULL, "unknown subcommand 'KILL'", 0},
    {"CONFIG REWRITE", NULL, "there are GET SET", 0},
    {"PUHS", NULL, "did you mean 'PUSH'", 0},
    {"acks", NULL, "did you mean 'ACK'", 0},
    {"GET", NULL, "unknown command 'GET'", 0},
    {"ZRANGEBYSCORESTORE", NULL, "unknown command 'ZRANGEBYSCORESTORE'", 0}, /* longer than any of ours */
    {"CLIENT AVERYLONGSUBCOMMAND", NULL, "unknown subcommand", 0},
};

static void an_unknown_name_is_answered_with_the_nearest(void **unused)
{
    (void)unused;
    for (size_t i = 0; i < sizeof lookups / sizeof *lookups; i++) {
        const char *blank = strchr(lookups[i].typed, ' ');
        size_t first = blank ? (size_t)(blank - lookups[i].typed) : strlen(lookups[i].typed);
        struct slice args[2] = {{lookups[i].typed, first}, blank ? slice_of(blank + 1) : SLICE_EMPTY};
        struct mq_err err;
        unsigned words;
        const struct command *found = command_find(args, blank ? 2 : 1, &words, &err);
        if (lookups[i].name) {
            assert_non_null(found);
            assert_string_equal(lookups[i].name, found->name);
            assert_int_equal(lookups[i].words, words);
        } else {
            assert_null(found);
            assert_int_equal(MQ_BADARG, err.code);
            if (!strstr(err.text, lookups[i].error))
                fail_msg("'%s': '%s' does not say '%s'", lookups[i].typed, err.text, lookups[i].error);
        }
    }
}

/* Found by fuzzing: a NUL ends nothing on the wire, so it is no part of a name either. */
static void a_name_with_a_nul_is_unknown(void **unused)
{
    const struct slice args[][2] = {
        {{"PING\0", 5}, SLICE_EMPTY},
        {{"\0", 1}, SLICE_EMPTY},
        {{"CLIENT", 6}, {"ID\0", 3}},
        {{"CLIENT", 6}, {"ID\0x", 4}},
    };
    (void)unused;
    for (size_t i = 0; i < sizeof args / sizeof *args; i++) {
        struct mq_err err;
        unsigned words;
        assert_null(command_find(args[i], args[i][1].len ? 2 : 1, &words, &err));
        assert_int_equal(MQ_BADARG, err.code);
    }
}

static void a_wrong_count_of_arguments_shows_the_syntax(void **unused)
{
    struct mq_err err;
    (void)unused;
    for (unsigned i = 0; i < command_count; i++) {
        const struct command *c = &commands[i];
        assert_int_equal(MQ_OK, command_check_arity(c, (unsigned)c->min, &err));
        if (c->min > 0) {
            assert_int_equal(MQ_BADARG, command_check_arity(c, (unsigned)c->min - 1, &err));
            assert_non_null(strstr(err.text, c->args));
        }
        if (c->max >= 0)
            assert_int_equal(MQ_BADARG, command_check_arity(c, (unsigned)c->max + 1, &err));
        else
            assert_int_equal(MQ_OK, command_check_arity(c, 1000, &err));
    }
}

static const struct {
    const char *pattern, *text;
    bool fits;
} globs[] = {
    {"*", "", true},
    {"*", "job.dead", true},
    {"job.*", "job.dead", true},
    {"job.*", "worker.exited", false},
    {"*.dead", "job.dead", true},
    {"j?b.dead", "JOB.DEAD", true},
    {"job", "job.dead", false},
    {"", "a", false},
    {"a*b*c", "a1b2b3c", true},
    {"a*b*c", "a1b2b3", false},
    {"*a*a*a*a*a*a*a*b", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", false}, /* in no time */
};

static void a_pattern_fits_what_it_says(void **unused)
{
    (void)unused;
    for (size_t i = 0; i < sizeof globs / sizeof *globs; i++)
        if (glob_matches(slice_of(globs[i].pattern), slice_of(globs[i].text)) != globs[i].fits)
            fail_msg("'%s' and '%s'", globs[i].pattern, globs[i].text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_row_is_complete),
        cmocka_unit_test(flags_agree_with_each_other),
        cmocka_unit_test(each_option_has_a_meaning),
        cmocka_unit_test(each_name_finds_its_row_in_any_case),
        cmocka_unit_test(an_unknown_name_is_answered_with_the_nearest),
        cmocka_unit_test(a_name_with_a_nul_is_unknown),
        cmocka_unit_test(a_wrong_count_of_arguments_shows_the_syntax),
        cmocka_unit_test(a_pattern_fits_what_it_says),
    };
    command_setup();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
