// SPDX-License-Identifier: Apache-2.0
//
// Requests: alerts that are answered, once. How one ended is told to the callback that was given
// with it: by the response, or by why there is none.
#ifndef ALERTPIPE_REQUEST_H_
#define ALERTPIPE_REQUEST_H_

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <utility>

#include <absl/functional/any_invocable.h>
#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <alertpipe/buffer.h>
#include <alertpipe/export.h>
#include <alertpipe/limits.h>
#include <alertpipe/peer.h>

namespace alertpipe {

namespace core {
class GrowBuffer;
}
namespace internal {
class EndpointImpl;
}

// How a request ended, the code that status() gives for it, and what to do.
enum class ResponseOutcome : std::uint8_t {
  kResponse,  // OK: the peer has responded
  kDeadline,  // kDeadlineExceeded: not in time. The peer may still handle it; what it then
              // responds is dropped and counted (Stats::responses_late)
  kPeerDied,  // kUnavailable: the peer died first (the master: or closed its endpoint). It may have
              // handled the request or not
  kUnhandled,    // kUnimplemented: the peer has no handler for this name, or its handler returned
                 // (or threw) with neither response nor token, or the token was destroyed
  kUndelivered,  // kResourceExhausted: the peer could not hold the request, or this process the
                 // response (MasterOptions::reassembly_bytes_max, or memory)
  kRefused,      // Gather only: this peer's queue did not take the request; status() is the
                 // refusal (result.h)
  kClosed,       // kCancelled: this endpoint was closed or destroyed first
};

// "response", "deadline", ...; a static string.
ALERTPIPE_EXPORT std::string_view ToString(ResponseOutcome outcome);

// How one request ended, as its callback sees it. Exists only while the callback runs.
class ALERTPIPE_EXPORT Response {
 public:
  Response(const Response&) = delete;
  Response& operator=(const Response&) = delete;

  bool ok() const { return outcome_ == ResponseOutcome::kResponse; }
  ResponseOutcome outcome() const { return outcome_; }
  // The same as a status, with a message that names the peer.
  absl::Status status() const;

  // Who was asked.
  const Peer& peer() const { return peer_; }

  // What it responded, 0 to 4,294,967,040 bytes; empty unless ok(). Valid until the callback
  // returns or TakeData() is called.
  std::string_view data() const { return data_; }
  // Moves the data out, as Alert::TakeData.
  absl::StatusOr<Buffer> TakeData();

 private:
  friend class internal::EndpointImpl;
  Response(ResponseOutcome outcome, const Peer& peer) : outcome_(outcome), peer_(peer) {}
  Response(const Peer& peer, std::string_view data, core::GrowBuffer* collected)
      : outcome_(ResponseOutcome::kResponse), peer_(peer), data_(data), collected_(collected) {}
  Response(const Peer& peer, absl::Status refusal)
      : outcome_(ResponseOutcome::kRefused), peer_(peer), refusal_(std::move(refusal)) {}

  ResponseOutcome outcome_;
  Peer peer_;
  std::string_view data_;
  core::GrowBuffer* collected_ = nullptr;  // what data_ lies in, when that can be moved out
  absl::Status refusal_;
};

// Called exactly once for each accepted request, on the endpoint's thread, from its loop (from
// Close and the destructor for what these give up), never from inside Request. May do anything that
// a handler may. What it throws is caught and given to OnHandlerError.
using ResponseCallback = absl::AnyInvocable<void(Response&)>;

// Called once when a Gather has ended: every peer's outcome has been told.
using GatherDone = absl::AnyInvocable<void()>;

// What WhenWorkers calls, once: OK, or kDeadlineExceeded, or kCancelled (closed or destroyed).
using WorkersCallback = absl::AnyInvocable<void(const absl::Status&)>;

}  // namespace alertpipe

#endif  // ALERTPIPE_REQUEST_H_
