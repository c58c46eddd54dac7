// SPDX-License-Identifier: Apache-2.0
//
// Takes the place of the whole seam in this process and in all that it forks, counts the calls of
// each process apart, and makes one chosen call fail.
//
// A process of a family has a role: 0 is the one that installed the injector, 1 the first that was
// forked through the seam, and so on. What a fault is aimed at is fixed before; what has been
// counted is in shared memory. Nothing is counted, and nothing fails, while the ledger is not
// armed.
#ifndef ALERTPIPE_TEST_FAULTS_INJECTOR_H_
#define ALERTPIPE_TEST_FAULTS_INJECTOR_H_

#include <sys/types.h>

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "faults/sites.h"

namespace alertpipe::faults {

inline constexpr int kRoles = 8;

// What happens to the chosen call. All but the first are lies that no kernel tells: canaries, which
// the account has to catch.
enum class Harm {
  kFails,
  kForgotten,  // says that it was done, and nothing was
  kTwice,      // done twice
};

struct Fault {
  Site site = Site::kPipe2;
  int role = -1;  // none: only count
  int nth = 0;    // from 1
  int error = 0;
  bool for_good = false;  // the nth and all after it (EINTR: kInterruptions)
  Harm harm = Harm::kFails;
};

// How often EINTR comes in a row where another error would come for good.
inline constexpr int kInterruptions = 5;

// In shared memory.
struct Tally {
  std::atomic<bool> armed;
  std::atomic<int> roles;  // that there have been
  std::atomic<pid_t> pids[kRoles];
  std::atomic<int> calls[kRoles][kSites];
  std::atomic<int> failed;  // calls that were made to fail
  // Bytes that could not be unmapped because of that.
  std::atomic<std::int64_t> kept[kRoles];
};

// How an old kernel is played: without RWF_NOWAIT and RWF_NOSIGNAL, pidfds, MADV_WIPEONFORK and
// F_SEAL_FUTURE_WRITE.
enum class KernelIs { kThis, kOld };

class Injector {
 public:
  // `tally` is zeroed, and outlives the injector in all processes.
  Injector(Tally* tally, const Fault& fault, KernelIs kernel);
  Injector(const Injector&) = delete;
  Injector& operator=(const Injector&) = delete;
  ~Injector();

  // The calling process's.
  static int role();
  // Blocks of the payload's seam that this process holds.
  static long blocks();
};

}  // namespace alertpipe::faults

#endif  // ALERTPIPE_TEST_FAULTS_INJECTOR_H_
