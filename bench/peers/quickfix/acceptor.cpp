// A QuickFIX acceptor that answers every NewOrderSingle with an ExecutionReport, as QuickFIX's own example `executor`
// does: `quickfix PORT memory|file DIR block|poll`. It prints its version when it accepts, and runs until it is killed.
//
// `block` is what every program with QuickFIX does: `start()`, whose thread sleeps in `select`. `poll` calls `poll()`
// without end, which never sleeps.

#include <quickfix/Application.h>
#include <quickfix/FileStore.h>
#include <quickfix/MessageCracker.h>
#include <quickfix/MessageStore.h>
#include <quickfix/SessionSettings.h>
#include <quickfix/SocketAcceptor.h>
#include <quickfix/fix42/ExecutionReport.h>
#include <quickfix/fix42/NewOrderSingle.h>

#include <unistd.h>

#include <cstdio>
#include <exception>
#include <memory>
#include <sstream>
#include <string>

namespace {

class Executor : public FIX::Application, public FIX::MessageCracker {
  public:
    void onCreate(const FIX::SessionID &) override {}
    void onLogon(const FIX::SessionID &) override {}
    void onLogout(const FIX::SessionID &) override {}
    void toAdmin(FIX::Message &, const FIX::SessionID &) override {}
    void toApp(FIX::Message &, const FIX::SessionID &) throw(FIX::DoNotSend) override {}
    void fromAdmin(const FIX::Message &, const FIX::SessionID &) throw(
        FIX::FieldNotFound, FIX::IncorrectDataFormat, FIX::IncorrectTagValue, FIX::RejectLogon) override {}
    void fromApp(const FIX::Message &message, const FIX::SessionID &session) throw(
        FIX::FieldNotFound, FIX::IncorrectDataFormat, FIX::IncorrectTagValue, FIX::UnsupportedMessageType) override {
        crack(message, session);
    }

    void onMessage(const FIX42::NewOrderSingle &order, const FIX::SessionID &session) override {
        FIX::ClOrdID cl_ord_id;
        FIX::Symbol symbol;
        FIX::Side side;
        FIX::OrderQty order_qty;
        FIX::Price price;
        order.get(cl_ord_id);
        order.get(symbol);
        order.get(side);
        order.get(order_qty);
        order.get(price);
        const std::string number = std::to_string(++m_orders);
        const FIX::OrderID order_id(number);
        const FIX::ExecID exec_id(number);
        FIX42::ExecutionReport report(order_id, exec_id, FIX::ExecTransType(FIX::ExecTransType_NEW),
                                      FIX::ExecType(FIX::ExecType_NEW), FIX::OrdStatus(FIX::OrdStatus_NEW), symbol,
                                      side, FIX::LeavesQty(order_qty), FIX::CumQty(0), FIX::AvgPx(0));
        report.set(cl_ord_id);
        report.set(order_qty);
        report.set(price);
        FIX::Session::sendToTarget(report, session);
    }

  private:
    unsigned long m_orders = 0;
};

} // namespace

int main(int argc, char **argv) {
    if (argc != 5) {
        std::fprintf(stderr, "usage: quickfix PORT memory|file DIR block|poll\n");
        return 2;
    }
    const std::string port = argv[1], store = argv[2], dir = argv[3], wait = argv[4];
    std::stringstream text;
    text << "[DEFAULT]\nConnectionType=acceptor\nSocketAcceptPort=" << port
         << "\nSocketReuseAddress=Y\nSocketNodelay=Y\nStartTime=00:00:00\nEndTime=00:00:00\nHeartBtInt=3600\n"
            "ResetOnLogon=Y\nUseDataDictionary=N\nCheckLatency=N\nFileStorePath="
         << dir << "\n[SESSION]\nBeginString=FIX.4.2\nSenderCompID=VENUE\nTargetCompID=CLIENT\n";
    try {
        FIX::SessionSettings settings(text);
        std::unique_ptr<FIX::MessageStoreFactory> factory;
        if (store == "file") {
            factory.reset(new FIX::FileStoreFactory(settings));
        } else {
            factory.reset(new FIX::MemoryStoreFactory());
        }
        Executor executor;
        // Without a factory of logs there is no log.
        FIX::SocketAcceptor acceptor(executor, *factory, settings);
        if (wait == "poll") {
            acceptor.poll();
        } else {
            acceptor.start();
        }
        std::printf("%s\n", QUICKFIX_VERSION);
        std::fflush(stdout);
        if (wait == "poll") {
            while (acceptor.poll()) {
            }
        }
        for (;;) {
            pause();
        }
    } catch (const std::exception &error) {
        std::fprintf(stderr, "%s\n", error.what());
        return 1;
    }
}
