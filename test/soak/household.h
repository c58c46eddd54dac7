// SPDX-License-Identifier: Apache-2.0
//
// What a worker of the soak is born with, and its life.
#ifndef ALERTPIPE_TEST_SOAK_HOUSEHOLD_H_
#define ALERTPIPE_TEST_SOAK_HOUSEHOLD_H_

#include <cstdint>
#include <set>

#include <alertpipe/alertpipe.h>

#include "ledger.h"
#include "sender.h"
#include "settings.h"

namespace alertpipe::soak {

// Made by the master before the first fork; workers have it by inheritance.
struct Household {
  Settings settings;
  Ledger* ledger = nullptr;
  Material* material = nullptr;
  std::set<std::uint64_t> pipes;  // inodes of those that Master::Create opened
};

// Inodes of the pipes that this process has open; those it can read, or all.
std::set<std::uint64_t> OpenPipes(bool readable_only);
// A descriptor of that pipe; -1: there is none.
int DescriptorOf(std::uint64_t inode);

// The worker's exit code. It ends when it is killed, replaced, or its master is gone.
int LiveAsWorker(Slot slot, const Household& household);

}  // namespace alertpipe::soak

#endif  // ALERTPIPE_TEST_SOAK_HOUSEHOLD_H_
