// SPDX-License-Identifier: Apache-2.0
//
// Memory files (memfd) of other processes, for reading. They have no name in any file system; they
// are found among the descriptors of the process that holds them, through /proc, which lets those
// look who may trace the process.

#ifndef ALERTPIPE_OS_FOREIGN_MEMORY_H_
#define ALERTPIPE_OS_FOREIGN_MEMORY_H_

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "os/memory.h"

namespace alertpipe::os {

struct ForeignMemory {
  std::string name;  // as it was created
  std::uint64_t inode = 0;
  Mapping memory;  // all of it, read-only
};

// Maps the memory files of process `pid` whose names begin with `prefix`, in the order of their
// descriptors, each once. Left out are those that could still shrink (reading them would not be
// safe), empty ones, and those that go while this looks.
//   InvalidArgument    `pid` is not positive
//   NotFound           there is no such process, or no /proc
//   PermissionDenied   it may not be looked at
//   ResourceExhausted  no descriptor, no memory
absl::StatusOr<std::vector<ForeignMemory>> OpenForeignMemory(pid_t pid, absl::string_view prefix);

}  // namespace alertpipe::os

#endif  // ALERTPIPE_OS_FOREIGN_MEMORY_H_
