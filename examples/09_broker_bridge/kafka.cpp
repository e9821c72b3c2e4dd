// SPDX-License-Identifier: MIT
#include "broker.hpp"

#include <librdkafka/rdkafka.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <functional>
#include <iterator>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace broker_bridge {
namespace {

/// What a delivery report is about. The reports of a batch's messages share the batch.
struct in_flight {
    std::shared_ptr<sent_batch> batch;
    std::size_t index;
};

class kafka final : public broker {
public:
    explicit kafka(settings const& how) {
        std::unique_ptr<rd_kafka_conf_t, decltype(&rd_kafka_conf_destroy)> conf(rd_kafka_conf_new(),
                                                                                rd_kafka_conf_destroy);
        auto const set = [&](std::string const& name, std::string const& value) {
            char why[512];
            if (rd_kafka_conf_set(conf.get(), name.c_str(), value.c_str(), why, sizeof why) != RD_KAFKA_CONF_OK) {
                throw std::runtime_error(why);
            }
        };
        set("bootstrap.servers", how.brokers);
        set("client.id", "09_broker_bridge");
        // The client's own attempts make no duplicates, and keep the order of each of Kafka's partitions.
        set("enable.idempotence", "true");
        set("message.timeout.ms", std::to_string(std::chrono::milliseconds(how.timeout).count()));
        set("linger.ms", "5");
        set("socket.nagle.disable", "true");   // no request waits for the answer to the one before
        set("partitioner", "murmur2_random");  // that of Java's clients: a key has one partition, whoever sends it
        set("queue.buffering.max.messages", "1000000");
        for (auto const& [name, value] : how.properties) set(name, value);
        rd_kafka_conf_set_opaque(conf.get(), this);
        rd_kafka_conf_set_dr_msg_cb(conf.get(), [](rd_kafka_t*, rd_kafka_message_t const* said, void* self) {
            static_cast<kafka*>(self)->report(*said);
        });
        char why[512];
        client_.reset(rd_kafka_new(RD_KAFKA_PRODUCER, conf.get(), why, sizeof why));
        if (!client_) throw std::runtime_error(why);
        (void)conf.release();  // the client has it
        topic_.reset(rd_kafka_topic_new(client_.get(), how.topic.c_str(), nullptr));
        if (!topic_) throw std::runtime_error(rd_kafka_err2str(rd_kafka_last_error()));
        poller_ = std::thread([this] {
            while (!done_.load()) rd_kafka_poll(client_.get(), 100);
        });
    }

    ~kafka() override {
        done_.store(true);
        poller_.join();
    }

    void send(std::span<message const> batch, std::function<void(answer)> tell) override {
        auto const sent = std::make_shared<sent_batch>(batch.size(), std::move(tell));
        for (std::size_t i = 0; i < batch.size(); ++i) {
            auto about = std::make_unique<in_flight>(in_flight{sent, i});
            std::unique_ptr<rd_kafka_error_t, destroyer> const error(produce(batch[i], about.get()));
            if (!error) {
                (void)about.release();  // the report's
            } else {
                sent->fail(i, rd_kafka_error_string(error.get()));
            }
        }
        sent->all_sent();
    }

    void give_up() override { rd_kafka_purge(client_.get(), RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT); }

private:
    struct destroyer {
        void operator()(rd_kafka_t* one) const { rd_kafka_destroy(one); }
        void operator()(rd_kafka_topic_t* one) const { rd_kafka_topic_destroy(one); }
        void operator()(rd_kafka_error_t* one) const { rd_kafka_error_destroy(one); }
    };

    /// Copies nothing: the text stays where it is until its report has come.
    rd_kafka_error_t* produce(message const& one, in_flight* about) const {
        rd_kafka_vu_t with[5] = {};
        with[0].vtype = RD_KAFKA_VTYPE_RKT;
        with[0].u.rkt = topic_.get();
        with[1].vtype = RD_KAFKA_VTYPE_VALUE;
        with[1].u.mem = {const_cast<char*>(one.text.data()), one.text.size()};
        with[2].vtype = RD_KAFKA_VTYPE_KEY;
        if (one.key_size > 0) with[2].u.mem = {const_cast<char*>(one.key().data()), one.key_size};
        with[3].vtype = RD_KAFKA_VTYPE_HEADER;
        with[3].u.header = {"id", one.id.data(), static_cast<ssize_t>(one.id.size())};
        with[4].vtype = RD_KAFKA_VTYPE_OPAQUE;
        with[4].u.ptr = about;
        return rd_kafka_produceva(client_.get(), with, std::size(with));
    }

    /// On the poller's thread.
    void report(rd_kafka_message_t const& said) {
        std::unique_ptr<in_flight> const about(static_cast<in_flight*>(said._private));
        if (said.err == RD_KAFKA_RESP_ERR_NO_ERROR) return about->batch->confirm(about->index);
        if (rd_kafka_message_status(&said) != RD_KAFKA_MSG_STATUS_NOT_PERSISTED) ++doubtful_;
        about->batch->fail(about->index, rd_kafka_err2str(said.err));
    }

    std::unique_ptr<rd_kafka_t, destroyer> client_ = {};
    std::unique_ptr<rd_kafka_topic_t, destroyer> topic_ = {};
    std::atomic<bool> done_ = false;
    std::thread poller_ = {};
};

}  // namespace

std::unique_ptr<broker> make_kafka(settings const& how) {
    return std::make_unique<kafka>(how);
}

}  // namespace broker_bridge
