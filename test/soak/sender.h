// SPDX-License-Identifier: Apache-2.0
//
// The sending side of a process of the soak: loads of alerts of all sizes to everybody, each
// stamped and written down before and after the call, and the account of those that come back.
//
// It sends until a queue is full, or its own measure of a backlog is, and goes on when the library
// says that the queue has drained.
#ifndef ALERTPIPE_TEST_SOAK_SENDER_H_
#define ALERTPIPE_TEST_SOAK_SENDER_H_

#include <cstddef>
#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include <alertpipe/alertpipe.h>

#include "ledger.h"
#include "stamp.h"

namespace alertpipe::soak {

// Bytes that alerts are cut from. Made before the first fork; a process that writes stamps into it
// gets its own copy of those pages.
class Material {
 public:
  Material(std::size_t capacity, std::uint64_t seed);
  std::size_t capacity() const { return capacity_; }
  std::size_t bytes_max() const { return bytes_.size(); }
  // `bytes` of it that may be written to.
  char* Cut(std::size_t bytes, std::uint64_t random) {
    return &bytes_[static_cast<std::size_t>(random % (bytes_.size() - bytes + 1))];
  }

 private:
  std::size_t capacity_;
  std::string bytes_;
};

class Sender {
 public:
  Sender(Endpoint* endpoint, Ledger* ledger, Material* material, std::uint64_t seed);

  // Looks who is there.
  void Refresh();
  // A turn's worth of load. False when there is nothing to send before something has drained.
  bool Feed(Mode mode);
  // A small share of that, for a process that has other things to do.
  void FeedLittle();
  // Tells `peer` of a quiet point. False when its queue is full.
  bool SendQuiet(const Peer& peer, std::uint64_t quiet);

  void Drained(const Peer& peer);
  void CameBack(const Undelivered& undelivered);

  // Whether all that was accepted has left or has come back, and that was told.
  bool AtRest() const { return endpoint_->QueuedBytes() == 0; }
  // From now on the endpoint may refuse all sends: it is on its way out.
  void Leaving() { leaving_ = true; }
  // At rest: the library's own counters must say the same as ours.
  // `handled`: how often the handler was called.
  void CheckCounters(std::uint64_t handled);
  // For a canary: the next alert that comes back is not written down.
  void ForgetOne() { forget_ = true; }

 private:
  struct Line {
    std::uint32_t generation = 0;
    bool full = false;  // a send was refused: wait until it has drained
  };

  bool Load(const Peer& peer, Mode mode);
  bool LoadMixed(const Peer& peer);
  std::size_t DrawBytes(std::size_t* burst);
  bool SendOne(const Peer& peer, StampKind kind, char* data, std::size_t bytes, bool owned);
  bool SendSmall(const Peer& peer);
  bool SendBytes(const Peer& peer, std::size_t bytes);
  void NoteRefusal(const Peer& peer, const absl::Status& status);
  SendResult Call(const Peer& peer, char* data, std::size_t bytes, bool owned);
  Sent& HalfFor(const Peer& peer);
  Line& LineOf(const Peer& peer);

  Endpoint* endpoint_;
  Ledger* ledger_;
  Material* material_;
  Peer self_;
  std::minstd_rand random_;
  std::vector<Peer> peers_;
  Line lines_[kSlots];
  std::size_t turn_ = 0;
  std::uint64_t accepted_ = 0;
  std::uint64_t failed_ = 0;
  bool forget_ = false;
  bool leaving_ = false;
  bool closed_ = false;
};

}  // namespace alertpipe::soak

#endif  // ALERTPIPE_TEST_SOAK_SENDER_H_
