// SPDX-License-Identifier: Apache-2.0
//
// What a process holds and could leak: descriptors, children, heap, mappings.
#ifndef ALERTPIPE_RUNNER_HOLDINGS_H_
#define ALERTPIPE_RUNNER_HOLDINGS_H_

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

namespace alertpipe::runner {

// Descriptor -> what it refers to, as /proc/self/fd shows it.
using Descriptors = std::map<int, std::string>;

Descriptors ReadDescriptors();

// One line per descriptor that was opened, closed or replaced since `before`.
std::vector<std::string> CompareDescriptors(const Descriptors& before, const Descriptors& after);

std::set<pid_t> ReadChildren();

// One line per child of this process that is not in `before`. Such a child is killed and reaped,
// so that it disturbs nothing that follows.
std::vector<std::string> TakeNewChildren(const std::set<pid_t>& before);

// Bytes that the program holds from malloc, and bytes of anonymous and shared mappings.
int64_t HeapBytes();
int64_t MappingBytes();

// Whether HeapBytes follows malloc and free here. It does not under sanitizers, valgrind and
// foreign allocators, whose own leak checkers do the work there, nor while freed blocks go into
// glibc's per-thread cache.
bool IsHeapMeasurable();

}  // namespace alertpipe::runner

#endif  // ALERTPIPE_RUNNER_HOLDINGS_H_
