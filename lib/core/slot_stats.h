// SPDX-License-Identifier: Apache-2.0
//
// The figures of a slot, as anybody reads them who sees the roster and the slot's counter page: the
// master, and processes that are no relatives at all. The slot may change hands meanwhile.
#ifndef ALERTPIPE_CORE_SLOT_STATS_H_
#define ALERTPIPE_CORE_SLOT_STATS_H_

#include <alertpipe/family_stats.h>

#include "core/counters.h"
#include "core/roster.h"

namespace alertpipe::core {

SlotStats ReadSlot(const Roster& roster, const CounterPage& page, const ArchivedCounters& archived,
                   int slot);

}  // namespace alertpipe::core

#endif  // ALERTPIPE_CORE_SLOT_STATS_H_
