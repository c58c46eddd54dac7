// SPDX-License-Identifier: Apache-2.0
//
// What has to be reported and when. Events are noted where they happen and told later, from the
// loop: for each kind there is one place, where events merge until it is their turn. The first
// event is due at once, those of the following second with the first event after it. So nothing
// here needs a timer, and a storm of events costs an addition each.
#ifndef ALERTPIPE_DIAGNOSTICS_H_
#define ALERTPIPE_DIAGNOSTICS_H_

#include <alertpipe/diagnostic.h>

#include <array>
#include <cstdint>
#include <string_view>

#include "core/segment.h"

namespace alertpipe::internal {

class Diagnostics {
 public:
  // Nanoseconds of a clock that does not go back.
  using Clock = std::uint64_t (*)();
  static constexpr std::uint64_t kIntervalNs = 1'000'000'000;

  explicit Diagnostics(Clock clock) : clock_(clock) {}
  Diagnostics(const Diagnostics&) = delete;
  Diagnostics& operator=(const Diagnostics&) = delete;

  // It happened, `count` times. What else is known of it goes into the fields of what is returned,
  // views of static strings alone.
  Diagnostic& Note(Diagnostic::Kind kind, const Peer& peer = Peer(), std::uint64_t count = 1,
                   std::string_view name = {});

  // Whether any kind may be due; kinds that nobody wants told stay so.
  bool due() const { return due_; }
  bool due(Diagnostic::Kind kind) const { return places_[static_cast<std::size_t>(kind)].due; }
  // Takes what was noted of a kind, if it is due, or, with `all`, if there is anything. Views in
  // the report are valid until the next Take.
  bool Take(Diagnostic::Kind kind, bool all, Diagnostic* report);

 private:
  struct Place {
    Diagnostic latest;  // without its name
    core::ShortName name;
    std::uint64_t count = 0;  // since the last report
    std::uint64_t told_at = 0;
    bool told = false;
    bool due = false;
  };

  Clock clock_;
  bool due_ = false;
  std::array<Place, Diagnostic::kKinds> places_;
  core::ShortName taken_name_;
};

}  // namespace alertpipe::internal

#endif  // ALERTPIPE_DIAGNOSTICS_H_
