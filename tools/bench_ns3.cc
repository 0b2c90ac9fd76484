// The UDP echo of the bench in ns-3: pod, bridge, node, router, node, bridge, pod; warm, one datagram at a time, with checksums and
// without queues. ns-3 has no conntrack, NAT or iptables, and its bridge has no tap of its own: 16 frames are captured an echo.
// Prints CPU microseconds an echo and frames captured an echo: bench_ns3 ECHOES [PREFIX OF PCAP FILES]
#include <ctime>
#include <iostream>

#include "ns3/bridge-module.h"
#include "ns3/core-module.h"
#include "ns3/csma-module.h"
#include "ns3/internet-module.h"
#include "ns3/network-module.h"
#include "ns3/traffic-control-module.h"

using namespace ns3;

static Ptr<Socket> client;
static uint64_t left, frames;
static const uint8_t PING[] = {'p', 'i', 'n', 'g'};

static void Ask() { client->Send(PING, sizeof PING, 0); }

static void Answered(Ptr<Socket> socket) {
    while (socket->Recv()) {}
    if (left && --left) Simulator::ScheduleNow(&Ask);
}

static void Echo(Ptr<Socket> socket) {
    Address from;
    while (Ptr<Packet> packet = socket->RecvFrom(from)) socket->SendTo(packet, 0, from);
}

static void Seen(Ptr<const Packet>) { ++frames; }

static double Echoes(uint64_t count) {
    left = count;
    Simulator::ScheduleNow(&Ask);
    const clock_t start = clock();
    Simulator::Run();
    return double(clock() - start) / CLOCKS_PER_SEC;
}

int main(int argc, char** argv) {
    const uint64_t count = argc > 1 ? std::stoull(argv[1]) : 1000;
    GlobalValue::Bind("ChecksumEnabled", BooleanValue(true));
    NodeContainer all;
    all.Create(5);  // client, node-1, router, node-2, server
    InternetStackHelper().Install(all);
    CsmaHelper cable;
    cable.SetChannelAttribute("DataRate", StringValue("10Gbps"));
    cable.SetChannelAttribute("Delay", TimeValue(NanoSeconds(1000)));
    Ipv4AddressHelper addresses;
    NetDeviceContainer devices;
    auto join = [&](uint32_t one, uint32_t other) {
        NetDeviceContainer pair = cable.Install(NodeContainer(all.Get(one), all.Get(other)));
        devices.Add(pair);
        return pair;
    };
    auto pod = [&](uint32_t pod, uint32_t node, const char* network) {  // the node's end is a port of its bridge
        NetDeviceContainer pair = join(pod, node);
        NetDeviceContainer bridge = BridgeHelper().Install(all.Get(node), NetDeviceContainer(pair.Get(1)));
        addresses.SetBase(network, "255.255.255.0");
        return addresses.Assign(NetDeviceContainer(pair.Get(0), bridge.Get(0)));
    };
    const Ipv4InterfaceContainer client_net = pod(0, 1, "10.244.1.0"), server_net = pod(4, 3, "10.244.2.0");
    addresses.SetBase("192.168.51.0", "255.255.255.0");
    const Ipv4InterfaceContainer first = addresses.Assign(join(1, 2));
    addresses.SetBase("192.168.52.0", "255.255.255.0");
    const Ipv4InterfaceContainer second = addresses.Assign(join(2, 3));
    auto route = [&](uint32_t node, const char* network, Ipv4Address gateway, uint32_t interface) {
        Ipv4StaticRoutingHelper().GetStaticRouting(all.Get(node)->GetObject<Ipv4>())
            ->AddNetworkRouteTo(network, "255.255.255.0", gateway, interface);
    };
    route(0, "10.244.2.0", client_net.GetAddress(1), 1);
    route(4, "10.244.1.0", server_net.GetAddress(1), 1);
    route(1, "10.244.2.0", first.GetAddress(1), 2);
    route(2, "10.244.2.0", second.GetAddress(1), 2);
    route(2, "10.244.1.0", first.GetAddress(0), 1);
    route(3, "10.244.1.0", second.GetAddress(0), 2);
    for (uint32_t at = 0; at < devices.GetN(); ++at) {  // veth has no queue
        Ptr<TrafficControlLayer> control = devices.Get(at)->GetNode()->GetObject<TrafficControlLayer>();
        if (control->GetRootQueueDiscOnDevice(devices.Get(at))) control->DeleteRootQueueDiscOnDevice(devices.Get(at));
    }
    if (argc > 2) cable.EnablePcap(argv[2], devices, true);

    Ptr<Socket> service = Socket::CreateSocket(all.Get(4), UdpSocketFactory::GetTypeId());
    service->Bind(InetSocketAddress(Ipv4Address::GetAny(), 5353));
    service->SetRecvCallback(MakeCallback(&Echo));
    client = Socket::CreateSocket(all.Get(0), UdpSocketFactory::GetTypeId());
    client->Bind();
    client->Connect(InetSocketAddress(server_net.GetAddress(0), 5353));
    client->SetRecvCallback(MakeCallback(&Answered));

    Echoes(50);
    for (uint32_t at = 0; at < devices.GetN(); ++at) {
        devices.Get(at)->TraceConnectWithoutContext("MacTx", MakeCallback(&Seen));
        devices.Get(at)->TraceConnectWithoutContext("MacRx", MakeCallback(&Seen));
    }
    Echoes(10);
    const double per_echo = frames / 10.0;
    for (uint32_t at = 0; at < devices.GetN(); ++at) {
        devices.Get(at)->TraceDisconnectWithoutContext("MacTx", MakeCallback(&Seen));
        devices.Get(at)->TraceDisconnectWithoutContext("MacRx", MakeCallback(&Seen));
    }
    std::cout << Echoes(count) / double(count) * 1e6 << " " << per_echo << std::endl;
    Simulator::Destroy();
}
