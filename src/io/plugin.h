// SPDX-License-Identifier: Apache-2.0
// Loads plugin libraries (include/kasaga/action.h) and checks what they say of themselves: file,
// ABI, descriptors, options. Not for running actions (engine/runner.h), nor for finding libraries:
// the caller turns a configured name into an absolute path; no path ever comes from a record.
#ifndef KA_IO_PLUGIN_H
#define KA_IO_PLUGIN_H

#include "core/arena.h"
#include "core/err.h"
#include "core/slice.h"
#include "kasaga/action.h"

// 256 actions and 64 options: more is a broken table, not a library.
enum { IO_PLUGIN_ACTIONS_MAX = 256, IO_PLUGIN_OPTIONS_MAX = 64 };

struct io_plugin;

// Loads the library at the absolute `path` (RTLD_NOW, RTLD_LOCAL). It must be a regular file that
// belongs to root or to this process' user, that others may not write, in a directory that others
// may not write either (or with the sticky bit). KA_ERR_CONFIG, with the path and what is wrong:
// file, symbol, ABI number, descriptor. The caller owns *plugin; NULL after a failure. Any thread.
KA_MUST_USE enum ka_err io_plugin_open(const char *path, struct io_plugin **plugin,
                                       struct err_text *text);

// Unloads the library. No instance of its actions may be left, and no call be under way.
void io_plugin_close(struct io_plugin **plugin);

// Static texts, valid until io_plugin_close. Any thread.
const char *io_plugin_path(const struct io_plugin *plugin);
const char *io_plugin_name(const struct io_plugin *plugin);
const char *io_plugin_version(const struct io_plugin *plugin);
const char *io_plugin_description(const struct io_plugin *plugin);

// The actions in the order of the library; members that the library is too old to know are NULL.
// Borrowed until io_plugin_close.
size_t io_plugin_action_count(const struct io_plugin *plugin);
const struct kasaga_action *io_plugin_action(const struct io_plugin *plugin, size_t index);
// NULL if the library has no action of this name.
const struct kasaga_action *io_plugin_lookup(const struct io_plugin *plugin, const char *name);

// Reads the options of one configured action: a JSON object (absent = {}) against the action's
// table, then asks the action's `validate`. Offline: nothing else of the plugin is called.
// KA_ERR_CONFIG with *all* that is wrong in `text` (as far as it holds), separated by "; ".
// *options and what it points to live in the arena.
KA_MUST_USE enum ka_err io_plugin_options(const struct kasaga_action *action, struct slice json,
                                          bool run_inline, struct arena *arena,
                                          struct kasaga_options **options, struct err_text *text);

#endif
