// SPDX-License-Identifier: Apache-2.0
// The definitions of one lane: compiled from the catalog for that lane's thread. One thread.
#ifndef KA_ENGINE_DEFINITIONS_H
#define KA_ENGINE_DEFINITIONS_H

#include "core/shard.h"
#include "engine/catalog.h"

struct definitions;
struct definitions *definitions_new(struct catalog *catalog, const struct def_env *env);
void definitions_free(struct definitions **definitions);
// Compiles what the catalog has new. A definition that this process cannot load (an action it does
// not have, a newer form) is left out and logged once: its instances park their shard. True if
// anything changed. Cheap when nothing did.
bool definitions_refresh(struct definitions *definitions);
// For shards_new; the context is `definitions`.
struct shard_definitions definitions_lookup(struct definitions *definitions);

#endif
