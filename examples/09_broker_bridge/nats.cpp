// SPDX-License-Identifier: MIT
//
// JetStream by its protocol: a message is published with a subject to answer to, and the server answers with what it
// did in JSON. The client library's own asynchronous calls do not say which messages the server had already.
#include "../support/ticker.hpp"
#include "broker.hpp"

#include <nats/nats.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <atomic>
#include <charconv>
#include <chrono>
#include <cstdint>
#include <future>
#include <map>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace broker_bridge {
namespace {

using namespace std::chrono_literals;
using std::chrono::steady_clock;

void require(natsStatus status, char const* what) {
    if (status != NATS_OK) throw std::runtime_error(std::string(what) + ": " + natsStatus_GetText(status));
}

template <auto Destroy>
struct destroyer {
    template <typename T>
    void operator()(T* one) const {
        Destroy(one);
    }
};
template <typename T, auto Destroy>
using owned = std::unique_ptr<T, destroyer<Destroy>>;

class nats final : public broker {
public:
    explicit nats(settings const& how) : topic_(how.topic), timeout_(how.timeout) {
        natsOptions* options = nullptr;
        require(natsOptions_Create(&options), "cannot make options");
        owned<natsOptions, natsOptions_Destroy> const its(options);
        std::vector<char const*> servers;
        std::vector<std::string> names;
        for (std::string_view rest = how.brokers; !rest.empty();) {
            auto const name = rest.substr(0, rest.find(','));
            names.emplace_back(name);
            rest.remove_prefix(std::min(name.size() + 1, rest.size()));
        }
        for (auto const& name : names) servers.push_back(name.c_str());
        natsOptions_SetServers(options, servers.data(), static_cast<int>(servers.size()));
        natsOptions_SetMaxReconnect(options, -1);
        natsOptions_SetReconnectWait(options, 100);
        // What was published and not answered is sent again by its batch: the library is to keep nothing for later, and
        // to say when no answer can come any more.
        natsOptions_SetReconnectBufSize(options, 1);
        auto const lost = [](natsConnection*, void* self) {
            static_cast<nats*>(self)->sweep(steady_clock::time_point::max(), "the connection is lost");
        };
        natsOptions_SetDisconnectedCB(options, lost, this);
        natsOptions_SetReconnectedCB(options, lost,
                                     this);  // a message may have been taken since, by the old connection
        natsOptions_SetClosedCB(
            options, [](natsConnection*, void* self) { static_cast<nats*>(self)->closed_.set_value(); }, this);
        natsOptions_SetRetryOnFailedConnect(
            options, true, [](natsConnection*, void*) {}, nullptr);
        natsConnection* connected = nullptr;
        auto const status = natsConnection_Connect(&connected, options);
        if (status != NATS_NOT_YET_CONNECTED) require(status, "cannot connect");
        on_.reset(connected);

        natsInbox* inbox = nullptr;
        require(natsInbox_Create(&inbox), "cannot make a subject for answers");
        answers_ = std::string(inbox) + '.';
        natsInbox_Destroy(inbox);
        natsSubscription* subscribed = nullptr;
        auto const take = [](natsConnection*, natsSubscription*, natsMsg* said, void* self) {
            static_cast<nats*>(self)->take_answer(said);
            natsMsg_Destroy(said);
        };
        require(natsConnection_Subscribe(&subscribed, on_.get(), (answers_ + '>').c_str(), take, this),
                "cannot subscribe to answers");
        subscription_.reset(subscribed);
        natsSubscription_SetPendingLimits(subscribed, -1, -1);
    }

    ~nats() override {
        sweeper_.reset();
        subscription_.reset();
        natsConnection_Close(on_.get());
        closed_.get_future().wait();  // the last of the calls into this object
    }

    void send(std::span<message const> batch, std::function<void(answer)> tell) override {
        auto const number = next_.fetch_add(1);
        auto const sent = std::make_shared<sent_batch>(batch.size(), [this, number, tell](answer said) {
            forget(number);
            tell(std::move(said));
        });
        {
            std::lock_guard const lock(mutex_);
            out_.emplace(number, waiting{sent, steady_clock::now()});
        }
        // Without a stream there is nobody who answers.
        if (auto const reason = make_stream(); !reason.empty()) sent->fail_rest(reason);
        auto const begins = answers_ + std::to_string(number) + '.';
        for (std::size_t i = 0; has_stream_ && i < batch.size(); ++i) {
            auto const status = publish(batch[i], begins + std::to_string(i));
            if (status != NATS_OK) sent->fail(i, natsStatus_GetText(status));
        }
        if (!has_stream_) sent->fail_rest("no stream takes it");
        sent->all_sent();
    }

    void give_up() override { sweep(steady_clock::time_point::max(), "no time is left"); }

private:
    struct waiting {
        std::shared_ptr<sent_batch> batch;
        steady_clock::time_point since;
    };

    natsStatus publish(message const& one, std::string const& answer_to) {
        if (natsConnection_Status(on_.get()) != NATS_CONN_STATUS_CONNECTED) return NATS_CONNECTION_DISCONNECTED;
        natsMsg* made = nullptr;
        auto status = natsMsg_Create(&made, topic_.c_str(), answer_to.c_str(), one.text.data(),
                                     static_cast<int>(one.text.size()));
        owned<natsMsg, natsMsg_Destroy> const its(made);
        if (status == NATS_OK) status = natsMsgHeader_Set(made, "Nats-Msg-Id", one.id.c_str());
        if (status == NATS_OK && one.key_size > 0) {
            status = natsMsgHeader_Set(made, "Key", std::string(one.key()).c_str());
        }
        return status == NATS_OK ? natsConnection_PublishMsg(on_.get(), made) : status;
    }

    /// The reason why there is no stream.
    std::string make_stream() {
        std::lock_guard const lock(stream_mutex_);
        if (has_stream_) return {};
        if (natsConnection_Status(on_.get()) != NATS_CONN_STATUS_CONNECTED) return "not connected";
        jsCtx* made = nullptr;
        jsOptions options;
        jsOptions_Init(&options);
        options.Wait = 1'000;
        auto status = natsConnection_JetStream(&made, on_.get(), &options);
        owned<jsCtx, jsCtx_Destroy> const stream(made);
        jsErrCode code = static_cast<jsErrCode>(0);
        jsStreamInfo* info = nullptr;
        if (status == NATS_OK) status = js_GetStreamInfo(&info, made, topic_.c_str(), nullptr, &code);
        jsStreamInfo_Destroy(info);
        if (status == NATS_NOT_FOUND) {
            jsStreamConfig config;
            jsStreamConfig_Init(&config);
            char const* subjects[] = {topic_.c_str()};
            config.Name = topic_.c_str();
            config.Subjects = subjects;
            config.SubjectsLen = 1;
            config.Storage = js_FileStorage;
            status = js_AddStream(nullptr, made, &config, nullptr, &code);
        }
        has_stream_ = status == NATS_OK;
        return has_stream_ ? "" : natsStatus_GetText(status);
    }

    /// On the subscription's thread. The subject that was answered to names the batch and the message.
    void take_answer(natsMsg* said) {
        std::string_view const subject(natsMsg_GetSubject(said));
        auto const* const end_of_subject = subject.data() + subject.size();
        std::uint64_t number = 0;
        std::size_t index = 0;
        auto const at_dot = std::from_chars(subject.data() + answers_.size(), end_of_subject, number).ptr;
        std::from_chars(at_dot + 1, end_of_subject, index);
        std::shared_ptr<sent_batch> batch;
        {
            std::lock_guard const lock(mutex_);
            auto const found = out_.find(number);
            if (found == out_.end())
                return;  // it came too late: the message is sent again, and the server leaves it out
            batch = found->second.batch;
        }
        if (natsMsg_IsNoResponders(said)) {
            has_stream_ = false;
            return batch->fail(index, "no stream takes it");
        }
        auto const* const text = natsMsg_GetData(said);
        auto const content = nlohmann::json::parse(text, text + natsMsg_GetDataLength(said), nullptr, false);
        if (!content.is_object() || content.contains("error")) {
            return batch->fail(index,
                               content.is_object() ? content["error"].value("description", "refused") : "no JSON");
        }
        if (content.value("duplicate", false)) ++doubtful_;
        batch->confirm(index);
    }

    /// Those that have waited for too long have failed.
    void sweep(steady_clock::time_point now, char const* reason) {
        std::vector<std::shared_ptr<sent_batch>> late;
        {
            std::lock_guard const lock(mutex_);
            for (auto const& [number, one] : out_) {
                if (now - one.since > timeout_) late.push_back(one.batch);
            }
        }
        for (auto const& one : late) one->fail_rest(reason);
    }

    void forget(std::uint64_t number) {
        std::lock_guard const lock(mutex_);
        out_.erase(number);
    }

    std::string const topic_;
    steady_clock::duration const timeout_;
    std::string answers_ = {};  ///< what the subjects begin with that are answered to
    std::mutex mutex_ = {};
    std::map<std::uint64_t, waiting> out_ = {};  ///< guarded by mutex_
    std::atomic<std::uint64_t> next_ = 0;
    std::mutex stream_mutex_ = {};
    std::atomic<bool> has_stream_ = false;
    std::promise<void> closed_ = {};
    owned<natsConnection, natsConnection_Destroy> on_ = {};
    owned<natsSubscription, natsSubscription_Destroy> subscription_ = {};
    std::unique_ptr<access_log::ticker> sweeper_ =
        std::make_unique<access_log::ticker>(100ms, [this] { sweep(steady_clock::now(), "no answer"); });
};

}  // namespace

std::unique_ptr<broker> make_nats(settings const& how) {
    return std::make_unique<nats>(how);
}

}  // namespace broker_bridge
