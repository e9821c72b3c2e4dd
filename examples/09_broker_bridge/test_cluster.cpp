// SPDX-License-Identifier: MIT
//
// For test.sh: what a real cluster has elsewhere.
//
//     09_broker_bridge_cluster kafka          a cluster of three brokers, made up by librdkafka, until standard input
//                                             ends. It writes where it is, and obeys a line at a time:
//         errors N CODE…                      the next N requests with messages are answered with these, in turns
//         down | up                           all brokers are gone, or there again
//         dump FILE                           writes each message: partition, key, id and text, with tabs between
//     09_broker_bridge_cluster nats URL FILE  writes each message of the stream `lines` of a server
#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>
#include <nats/nats.h>

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <memory>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace {

constexpr int brokers = 3;
constexpr int partitions = 4;
constexpr std::int16_t produce = 0;  // the number of this request in Kafka's protocol

void require(bool holds, char const* what) {
    if (!holds) throw std::runtime_error(what);
}

rd_kafka_t* client(rd_kafka_type_t type, char const* where) {
    auto* const conf = rd_kafka_conf_new();
    char why[512];
    auto const set = [&](char const* name, char const* value) {
        require(rd_kafka_conf_set(conf, name, value, why, sizeof why) == RD_KAFKA_CONF_OK, why);
    };
    if (where != nullptr) {
        set("bootstrap.servers", where);
        set("group.id", "test");
        set("enable.partition.eof", "true");
        set("auto.offset.reset", "earliest");
    }
    auto* const made = rd_kafka_new(type, conf, why, sizeof why);
    require(made != nullptr, why);
    return made;
}

std::string_view text_of(void const* bytes, std::size_t size) {
    return {static_cast<char const*>(bytes), size};
}

void dump_kafka(char const* where, std::string const& file) {
    std::ofstream out(file);
    auto* const consumer = client(RD_KAFKA_CONSUMER, where);
    auto* const all = rd_kafka_topic_partition_list_new(partitions);
    for (int i = 0; i < partitions; ++i) {
        rd_kafka_topic_partition_list_add(all, "lines", i)->offset = RD_KAFKA_OFFSET_BEGINNING;
    }
    rd_kafka_poll_set_consumer(consumer);
    rd_kafka_assign(consumer, all);
    rd_kafka_topic_partition_list_destroy(all);
    for (int ended = 0; ended < partitions;) {
        auto* const one = rd_kafka_consumer_poll(consumer, 1'000);
        if (one == nullptr) continue;
        if (one->err == RD_KAFKA_RESP_ERR__PARTITION_EOF) ++ended;
        if (one->err == RD_KAFKA_RESP_ERR_NO_ERROR) {
            rd_kafka_headers_t* headers = nullptr;
            void const* id = nullptr;
            std::size_t size = 0;
            rd_kafka_message_headers(one, &headers);
            if (headers != nullptr) rd_kafka_header_get_last(headers, "id", &id, &size);
            out << one->partition << '\t' << text_of(one->key, one->key_len) << '\t' << text_of(id, size) << '\t'
                << text_of(one->payload, one->len) << '\n';
        }
        rd_kafka_message_destroy(one);
    }
    rd_kafka_consumer_close(consumer);
    rd_kafka_destroy(consumer);
}

void serve_kafka() {
    auto* const client_of_cluster = client(RD_KAFKA_PRODUCER, nullptr);
    auto* const cluster = rd_kafka_mock_cluster_new(client_of_cluster, brokers);
    require(cluster != nullptr, "no cluster");
    rd_kafka_mock_topic_create(cluster, "lines", partitions, brokers);
    std::string const where = rd_kafka_mock_cluster_bootstraps(cluster);
    std::cout << where << std::endl;
    for (std::string line; std::getline(std::cin, line);) {
        std::istringstream words(line);
        std::string command;
        words >> command;
        if (command == "errors") {
            std::size_t count = 0;
            words >> count;
            std::vector<int> codes;
            for (int code = 0; words >> code;) codes.push_back(code);
            std::vector<rd_kafka_resp_err_t> errors;
            for (std::size_t i = 0; i < count; ++i) {
                errors.push_back(static_cast<rd_kafka_resp_err_t>(codes[i % codes.size()]));
            }
            rd_kafka_mock_push_request_errors_array(cluster, produce, errors.size(), errors.data());
        } else if (command == "dump") {
            std::string file;
            words >> file;
            dump_kafka(where.c_str(), file);
        } else {
            for (int id = 1; id <= brokers; ++id) {
                if (command == "down") rd_kafka_mock_broker_set_down(cluster, id);
                if (command == "up") rd_kafka_mock_broker_set_up(cluster, id);
            }
        }
        std::cout << line << std::endl;  // it is done
    }
    rd_kafka_mock_cluster_destroy(cluster);
    rd_kafka_destroy(client_of_cluster);
}

void dump_nats(char const* where, char const* file) {
    std::ofstream out(file);
    natsConnection* on = nullptr;
    jsCtx* stream = nullptr;
    natsSubscription* all = nullptr;
    require(natsConnection_ConnectTo(&on, where) == NATS_OK, "no server");
    require(natsConnection_JetStream(&stream, on, nullptr) == NATS_OK, "no JetStream");
    jsStreamInfo* info = nullptr;
    require(js_GetStreamInfo(&info, stream, "lines", nullptr, nullptr) == NATS_OK, "no stream");
    auto const count = info->State.Msgs;
    jsStreamInfo_Destroy(info);
    jsSubOptions options;
    jsSubOptions_Init(&options);
    options.Config.AckPolicy = js_AckNone;
    require(js_SubscribeSync(&all, stream, "lines", nullptr, &options, nullptr) == NATS_OK, "no subscription");
    for (std::uint64_t i = 0; i < count; ++i) {
        natsMsg* one = nullptr;
        require(natsSubscription_NextMsg(&one, all, 10'000) == NATS_OK, "a message is missing");
        char const* id = "";
        char const* key = "";
        natsMsgHeader_Get(one, "Nats-Msg-Id", &id);
        natsMsgHeader_Get(one, "Key", &key);
        out << 0 << '\t' << key << '\t' << id << '\t'
            << text_of(natsMsg_GetData(one), static_cast<std::size_t>(natsMsg_GetDataLength(one))) << '\n';
        natsMsg_Destroy(one);
    }
    natsSubscription_Destroy(all);
    jsCtx_Destroy(stream);
    natsConnection_Destroy(on);
}

}  // namespace

int main(int argc, char** argv) {
    try {
        if (argc == 2 && argv[1] == std::string_view("kafka")) {
            serve_kafka();
        } else if (argc == 4 && argv[1] == std::string_view("nats")) {
            dump_nats(argv[2], argv[3]);
        } else {
            std::cerr << "usage: 09_broker_bridge_cluster kafka | nats URL FILE\n";
            return 2;
        }
    } catch (std::exception const& error) {
        std::cerr << "09_broker_bridge_cluster: " << error.what() << '\n';
        return 1;
    }
    return 0;
}
