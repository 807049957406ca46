/*
 * docs.h - `moonq docs NAME`: reference pages printed from the tables in the code, so that they cannot drift.
 *
 * protocol, configuration, states, errors, hostcalls. `make docs` writes them to docs/; a spec compares them.
 */
#ifndef MOONQ_SERVER_DOCS_H
#define MOONQ_SERVER_DOCS_H

int docs_main(int argc, char **argv);
#endif
