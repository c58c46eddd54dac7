// SPDX-License-Identifier: Apache-2.0
//
// Boost.Interprocess's message_queue, used as its documentation does: a queue in shared memory for
// each process, in the slots of which all others put copies of their messages; blocking calls.
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <boost/interprocess/ipc/message_queue.hpp>
#include <cerrno>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <absl/strings/str_cat.h>

#include "board.h"
#include "contents.h"
#include "link.h"
#include "transport.h"
#include "transports/children.h"
#include "transports/message.h"
#include "transports/pipe.h"

namespace alertpipe::bench {
namespace {

namespace interprocess = boost::interprocess;
using Queues = std::vector<std::unique_ptr<interprocess::message_queue>>;

// Slots of a queue: as many as there is room for, so that large ones stay within the caches, and
// enough of those for sender and receiver to work at the same time.
constexpr std::size_t kSlotsMax = 1000;
constexpr std::size_t kSlotsMin = 4;
constexpr std::size_t kQueueBytes = 1048576;

std::size_t SlotsOf(std::size_t bytes) {
  return std::clamp(kQueueBytes / bytes, kSlotsMin, kSlotsMax);
}

class BoostLink {
 public:
  BoostLink(const Settings& settings, int self, const Queues& queues, Place* place)
      : self_(self),
        queues_(queues),
        audience_(AudienceOf(settings, self)),
        place_(place),
        posted_(kMessageHeadBytes + settings.bytes, '\0'),
        replied_(posted_.size(), '\0'),
        received_(posted_.size(), '\0') {
    Contents(settings.bytes, settings.checksum).Prepare(posted_.data() + kMessageHeadBytes);
  }

  char* Data() { return posted_.data() + kMessageHeadBytes; }

  bool Post(Name name) {
    PutHead(posted_.data(), name, self_);
    for (const int process : audience_) SendTo(process, posted_);
    return true;
  }

  bool Reply(Name name, std::string_view data) {
    PutHead(replied_.data(), name, self_);
    data.copy(replied_.data() + kMessageHeadBytes, data.size());
    SendTo(replying_to_, {replied_.data(), kMessageHeadBytes + data.size()});
    return true;
  }

  void Finish() { finishing_ = true; }
  Tally tally() const { return tally_; }
  void Fail(const std::string& why) { place_->Fail(why); }

  template <typename Role>
  void Run(Role& role) {
    while (!finishing_) {
      if (role.posting()) {
        role.OnReady(*this);
      } else {
        Receive(role);
      }
    }
  }

 private:
  template <typename Role>
  void Receive(Role& role) {
    std::size_t bytes = 0;
    unsigned priority = 0;
    QueueOf(self_).receive(received_.data(), received_.size(), bytes, priority);
    const Message message = TakeApart({received_.data(), bytes}, static_cast<int>(queues_.size()));
    if (!message.whole) {
      Fail("a message has no head");
      _exit(1);
    }
    replying_to_ = message.sender;
    role.OnAlert(*this, message.sender, message.name, message.data);
  }

  void SendTo(int process, std::string_view message) {
    QueueOf(process).send(message.data(), message.size(), 0);
    ++tally_.alerts;
  }

  interprocess::message_queue& QueueOf(int process) const {
    return *queues_[static_cast<std::size_t>(process)];
  }

  int self_;
  const Queues& queues_;
  std::vector<int> audience_;
  Place* place_;
  std::string posted_;
  std::string replied_;
  std::string received_;
  Tally tally_;
  int replying_to_ = 0;
  bool finishing_ = false;
};

class BoostTransport {
 public:
  using Link = BoostLink;
  static constexpr std::string_view kName = "boost";
  static constexpr Abilities kCan = {};

  static absl::StatusOr<std::unique_ptr<BoostTransport>> Create(const Settings& settings) {
    const absl::StatusOr<std::size_t> capacity = GrantedCapacity(settings.capacity);
    if (!capacity.ok()) return capacity.status();
    std::unique_ptr<BoostTransport> transport(new BoostTransport(settings, *capacity));
    if (absl::Status made = transport->MakeQueues(); !made.ok()) return made;
    return transport;
  }

  absl::StatusOr<pid_t> Spawn(int process, Place* place,
                              const std::function<int(BoostLink&)>& main) {
    return children_.Fork([&] {
      BoostLink link(settings_, process, queues_, place);
      return main(link);
    });
  }

  std::vector<Ended> Reap() { return children_.Reap(); }
  std::size_t capacity() const { return capacity_; }

 private:
  BoostTransport(const Settings& settings, std::size_t capacity)
      : settings_(settings), capacity_(capacity) {}

  // The queues are inherited, so that their names can go before anything can happen to this
  // process.
  absl::Status MakeQueues() {
    const std::size_t slot_bytes = kMessageHeadBytes + settings_.bytes;
    const std::size_t slots = SlotsOf(settings_.bytes);
    if (absl::Status room = CheckRoom(slots * slot_bytes * Processes()); !room.ok()) return room;
    try {
      for (std::size_t process = 0; process < Processes(); ++process) {
        const std::string name = absl::StrCat("alertpipe_", getpid(), "_", process);
        queues_.push_back(std::make_unique<interprocess::message_queue>(
            interprocess::create_only, name.c_str(), slots, slot_bytes));
        interprocess::message_queue::remove(name.c_str());
      }
    } catch (const interprocess::interprocess_exception& error) {
      return absl::InternalError(absl::StrCat("a message queue: ", error.what()));
    }
    return absl::OkStatus();
  }

  // Where shared memory is short, it is only noticed by who writes to it, and by a signal.
  static absl::Status CheckRoom(std::size_t needed) {
    struct statvfs shared;
    if (statvfs("/dev/shm", &shared) != 0) return absl::OkStatus();
    const std::size_t room = shared.f_bavail * shared.f_frsize;
    if (needed <= room) return absl::OkStatus();
    return absl::ResourceExhaustedError(
        absl::StrCat("the queues take ", needed, " bytes of shared memory, there are ", room));
  }

  std::size_t Processes() const { return static_cast<std::size_t>(settings_.processes()); }

  Settings settings_;
  std::size_t capacity_;
  Queues queues_;
  Children children_;
};

const Registered<BoostTransport> kRegistered;

}  // namespace
}  // namespace alertpipe::bench
