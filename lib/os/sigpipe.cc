// SPDX-License-Identifier: Apache-2.0

#include "os/sigpipe.h"

#include <signal.h>

#include <utility>

#include "os/calls.h"

namespace alertpipe::os {
namespace {

// Active objects of this process; the disposition of a signal is process-wide as well.
int g_active = 0;

extern "C" void AlertpipeSigpipeHandler(int /*signal*/) {}

bool IsOurs(const SignalAction& action) {
  return (action.sa_flags & SA_SIGINFO) == 0 && action.sa_handler == &AlertpipeSigpipeHandler;
}

bool IsDefault(const SignalAction& action) {
  return (action.sa_flags & SA_SIGINFO) == 0 && action.sa_handler == SIG_DFL;
}

}  // namespace

SigpipeIgnore::SigpipeIgnore(const Kernel& kernel) noexcept {
  if (kernel.nosignal) return;
  SignalAction current = {};
  if (calls().sigaction(SIGPIPE, nullptr, &current) != 0) return;
  if (IsDefault(current)) {
    SignalAction ours = {};
    ours.sa_handler = &AlertpipeSigpipeHandler;
    ours.sa_flags = SA_RESTART;
    sigemptyset(&ours.sa_mask);
    if (calls().sigaction(SIGPIPE, &ours, nullptr) != 0) return;
  } else if (!IsOurs(current)) {
    return;
  }
  active_ = true;
  ++g_active;
}

SigpipeIgnore::SigpipeIgnore(SigpipeIgnore&& other) noexcept
    : active_(std::exchange(other.active_, false)) {}

SigpipeIgnore& SigpipeIgnore::operator=(SigpipeIgnore&& other) noexcept {
  if (this != &other) {
    Release();
    active_ = std::exchange(other.active_, false);
  }
  return *this;
}

SigpipeIgnore::~SigpipeIgnore() { Release(); }

void SigpipeIgnore::Release() noexcept {
  if (!active_) return;
  active_ = false;
  if (--g_active > 0) return;
  SignalAction current = {};
  if (calls().sigaction(SIGPIPE, nullptr, &current) != 0 || !IsOurs(current)) return;
  SignalAction standard = {};
  standard.sa_handler = SIG_DFL;
  calls().sigaction(SIGPIPE, &standard, nullptr);
}

}  // namespace alertpipe::os
