/*
 * home.h - where moonq's own Lua lies: beside the binary.
 *
 * build/moonq finds ../stdlib and ../scripts; PREFIX/bin/moonq finds ../share/moonq/stdlib and .../scripts;
 * MOONQ_HOME (a folder with stdlib/ and scripts/) goes before both. So an installation can be moved.
 */
#ifndef MOONQ_RUNTIME_HOME_H
#define MOONQ_RUNTIME_HOME_H

#include "base/err.h"

#define HOME_PATH_BYTES 4096
struct home {
    char stdlib[HOME_PATH_BYTES], scripts[HOME_PATH_BYTES], binary[HOME_PATH_BYTES];
};

/* NOTFOUND names the places that were tried. */
enum mq_code home_find(struct home *out, struct mq_err *err);
#endif
