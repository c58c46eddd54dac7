// SPDX-License-Identifier: Apache-2.0
//
// Limits that hold in every family of processes, whatever its options say.
#ifndef ALERTPIPE_LIMITS_H_
#define ALERTPIPE_LIMITS_H_

#include <cstddef>
#include <cstdint>

namespace alertpipe {

// Longest name of an alert, in bytes. Names may hold any bytes, zeros included, and may be empty.
inline constexpr std::size_t kNameBytesMax = 254;

// Longest data of an alert, in bytes (4 GiB less 256). A family may set a lower limit: see
// MasterOptions::alert_bytes_max.
inline constexpr std::uint64_t kDataBytesMax = 4294967040;

// Most workers that one master can have, spare slots included.
inline constexpr int kWorkersMax = 4096;

// The slot of the master. Workers have the slots 1 to MasterOptions::workers_max.
inline constexpr int kMasterSlot = 0;

// Most requests of one endpoint to one slot that have not ended.
inline constexpr std::size_t kRequestsPerPeerMax = 65536;

// Most barriers of one endpoint that have not ended.
inline constexpr std::size_t kBarriersMax = 64;

// Most tries of an empty inbox before the loop waits: see AttachOptions::linger.
inline constexpr int kLingerMax = 10000;

}  // namespace alertpipe

#endif  // ALERTPIPE_LIMITS_H_
