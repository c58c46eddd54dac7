// SPDX-License-Identifier: Apache-2.0
//
// Where something can fail, and how: each call of the seam (os/calls.h), split where one function
// does different things; each way to get memory for payload, outbox or reassembly (core/memory.h);
// and what the library asks of libuv that can be refused. The errors are those that the manual
// pages name for the use that is made of the call, and what a sandbox (seccomp) answers where it is
// known to; for memory ENOMEM stands for a null pointer.
#ifndef ALERTPIPE_TEST_FAULTS_SITES_H_
#define ALERTPIPE_TEST_FAULTS_SITES_H_

#include <vector>

namespace alertpipe::faults {

enum class Site : int {
  kPipe2,
  kSetPipeSize,
  kGetPipeSize,
  kAddSeals,
  kGetSeals,
  kGetFlags,
  kSetFlags,
  kGetFdFlags,
  kOpen,
  kClose,
  kDup3,
  kEventfd,
  kPreadv2,
  kPwritev2,
  kGetdents64,
  kReadlink,
  kFstat,
  kPoll,
  kEpollCreate1,
  kEpollAdd,
  kEpollDelete,
  kEpollWait,
  kMemfdCreate,
  kFtruncate,
  kMmap,
  kMunmap,
  kDontFork,
  kWipeOnFork,
  kFork,
  kGetpid,
  kGetppid,
  kPidfdOpen,
  kPidfdSendSignal,
  kKill,
  kSchedYield,
  kWaitid,
  kWaitpid,
  kSigaction,
  kSigmask,
  kGetrlimit,
  kPathconf,
  kClockGettime,
  kAllocate,
  kMap,
  kRemap,
  kUvPollInit,
  kUvSignalInit,
};
inline constexpr int kSites = static_cast<int>(Site::kUvSignalInit) + 1;

struct SiteErrors {
  const char* name;
  const char* source;       // the manual page, or why nothing fits
  std::vector<int> errors;  // the most telling one first
  // What a message about it has to hold, if not the description of the error.
  const char* named_as = nullptr;
};

const SiteErrors& ErrorsOf(Site site);

}  // namespace alertpipe::faults

#endif  // ALERTPIPE_TEST_FAULTS_SITES_H_
