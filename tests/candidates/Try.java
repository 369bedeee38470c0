import io.netty.bootstrap.Bootstrap;
import io.netty.bootstrap.ServerBootstrap;
import io.netty.buffer.ByteBuf;
import io.netty.buffer.Unpooled;
import io.netty.buffer.UnpooledByteBufAllocator;
import io.netty.channel.Channel;
import io.netty.channel.ChannelHandlerContext;
import io.netty.channel.ChannelInboundHandlerAdapter;
import io.netty.channel.EventLoopGroup;
import io.netty.channel.SimpleChannelInboundHandler;
import io.netty.channel.epoll.Epoll;
import io.netty.channel.epoll.EpollDomainSocketChannel;
import io.netty.channel.epoll.EpollEventLoopGroup;
import io.netty.channel.epoll.EpollServerSocketChannel;
import io.netty.channel.epoll.EpollSocketChannel;
import io.netty.handler.ssl.ApplicationProtocolConfig;
import io.netty.handler.ssl.OpenSsl;
import io.netty.handler.ssl.SslContext;
import io.netty.handler.ssl.SslContextBuilder;
import io.netty.handler.ssl.SslProvider;
import io.netty.handler.ssl.util.InsecureTrustManagerFactory;
import java.io.FileInputStream;
import java.io.File;
import java.io.InputStream;
import java.lang.reflect.Method;
import java.net.InetSocketAddress;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.StandardCopyOption;
import java.security.KeyStore;
import java.security.MessageDigest;
import java.security.Provider;
import java.util.Arrays;
import java.util.Random;
import java.util.concurrent.SynchronousQueue;
import java.util.concurrent.TimeUnit;
import javax.net.ssl.KeyManagerFactory;
import javax.net.ssl.SSLEngine;
import javax.net.ssl.SSLEngineResult.HandshakeStatus;

/** Uses one library as Pulsar, or the library's own caller there, uses it; prints "works: ..." or throws. */
public final class Try {
    private static final byte[] TEXT = "pulsar on aarch64".getBytes(StandardCharsets.UTF_8);

    public static void main(String[] words) throws Throwable {
        try {
            System.out.println("works: " + run(words));
        } catch (Throwable problem) {
            Throwable cause = problem;
            while (cause.getCause() != null) {
                cause = cause.getCause();
            }
            System.out.println("fails: " + String.valueOf(cause).split("\n")[0]);
        }
        System.exit(0);
    }

    private static String run(String[] words) throws Throwable {
        switch (words[0]) {
            case "rocksdb": return rocksdb();
            case "snappy": return snappy();
            case "epoll": return epoll();
            case "tcnative": return tls(SslProvider.OPENSSL, null, words[1]);
            case "conscrypt": return conscrypt(words[1]);
            case "digest": return digest();
            case "kinesis": return kinesis();
            case "load": return load(words[1]);
            case "class": return Class.forName(words[1]).getName() + " is loaded";
            default: throw new IllegalArgumentException(words[0]);
        }
    }

    /** Through BookKeeper's own class, as a bookie opens its index of entries. */
    private static String rocksdb() throws Exception {
        Class<?> store = Class.forName("org.apache.bookkeeper.bookie.storage.ldb.KeyValueStorageRocksDB");
        Class<?> conf = Class.forName("org.apache.bookkeeper.conf.ServerConfiguration");
        Class<?> kind = Class.forName("org.apache.bookkeeper.bookie.storage.ldb.KeyValueStorageFactory$DbConfigType");
        File place = Files.createTempDirectory("rocks").toFile();
        Object huge = kind.getField("Huge").get(null), db;
        db = store.getConstructor(String.class, kind, conf).newInstance(place.getPath(), huge, conf.newInstance());
        Method put = store.getMethod("put", byte[].class, byte[].class), get = store.getMethod("get", byte[].class);
        for (int i = 0; i < 300; i++) {
            put.invoke(db, ("k" + i).getBytes(), ("v" + i).getBytes());
        }
        store.getMethod("sync").invoke(db);
        for (int i = 0; i < 300; i++) {
            if (!Arrays.equals((byte[]) get.invoke(db, (Object) ("k" + i).getBytes()), ("v" + i).getBytes())) {
                throw new IllegalStateException("k" + i + " came back as another");
            }
        }
        store.getMethod("close").invoke(db);
        return "300 keys written, synced and read through BookKeeper's class";
    }

    private static String snappy() throws Exception {
        Class<?> snappy = Class.forName("org.xerial.snappy.Snappy");
        Method pack = snappy.getMethod("compress", byte[].class), unpack = snappy.getMethod("uncompress", byte[].class);
        Random random = new Random(7);
        int wrong = 0, all = 0;
        for (int size : new int[] {0, 1, 17, 1000, 4096, 65536, 65537, 300000}) {
            for (int kind = 0; kind < 5; kind++, all++) {
                byte[] in = new byte[size];
                for (int i = 0; i < size; i++) {
                    in[i] = (byte) (kind == 0 ? random.nextInt() : kind == 1 ? 1 : kind == 2 ? i % 7 : (i * i >> kind) & 15);
                }
                try {
                    byte[] out = (byte[]) unpack.invoke(null, (Object) (byte[]) pack.invoke(null, (Object) in));
                    wrong += Arrays.equals(in, out) ? 0 : 1;
                } catch (java.lang.reflect.InvocationTargetException problem) {
                    if (!(problem.getCause() instanceof java.io.IOException)) {
                        throw problem;
                    }
                    wrong++;
                }
            }
        }
        if (wrong > 0) {
            throw new IllegalStateException(wrong + " of " + all + " round trips came back wrong");
        }
        return all + " round trips";
    }

    /** TCP alone: reading UDP, it asks for IP_RECVORIGDSTADDR, which qemu-user does not know. */
    private static String epoll() throws Throwable {
        if (!Epoll.isAvailable()) {
            throw Epoll.unavailabilityCause();
        }
        EventLoopGroup group = new EpollEventLoopGroup(2);
        SynchronousQueue<String> told = new SynchronousQueue<>();
        ChannelInboundHandlerAdapter echo = new Echo();
        Channel server = new ServerBootstrap().group(group).channel(EpollServerSocketChannel.class).childHandler(echo)
            .bind(new InetSocketAddress("127.0.0.1", 0)).sync().channel();
        Channel client = new Bootstrap().group(group).channel(EpollSocketChannel.class).handler(new Listen(told))
            .connect(server.localAddress()).sync().channel();
        client.writeAndFlush(Unpooled.copiedBuffer(TEXT)).sync();
        expect(told, "TCP");
        new EpollDomainSocketChannel().config().getOptions();
        return "a text over TCP, and a domain socket's options";
    }

    private static void expect(SynchronousQueue<String> told, String what) throws Exception {
        String got = told.poll(60, TimeUnit.SECONDS);
        if (!new String(TEXT, StandardCharsets.UTF_8).equals(got)) {
            throw new IllegalStateException(what + " brought " + got);
        }
    }

    private static String digest() throws Exception {
        byte[] ours = MessageDigest.getInstance("SHA-256", openssl()).digest(TEXT);
        if (!Arrays.equals(ours, MessageDigest.getInstance("SHA-256", "SUN").digest(TEXT))) {
            throw new IllegalStateException("its SHA-256 is another than the JDK's");
        }
        return "SHA-256";
    }

    private static Provider openssl() throws Exception {
        return (Provider) Class.forName("org.conscrypt.OpenSSLProvider").getConstructor().newInstance();
    }

    /** A digest by the library, and TLS through Netty's own adapter of it. */
    private static String conscrypt(String keys) throws Throwable {
        return digest() + "; " + tls(SslProvider.JDK, openssl(), keys);
    }

    /** What the sink does when it is opened. */
    private static String kinesis() throws Exception {
        String name = "com.amazonaws.services.kinesis.producer.KinesisProducer";
        Class<?> settings = Class.forName(name + "Configuration");
        Object made = settings.getConstructor().newInstance();
        settings.getMethod("setRegion", String.class).invoke(made, "us-east-1");
        Class.forName(name).getConstructor(settings).newInstance(made);
        return "a producer is made";
    }

    /** A handshake and a text from client to server, both sides by the library. */
    private static String tls(SslProvider kind, Provider provider, String keys) throws Throwable {
        if (kind == SslProvider.OPENSSL) {
            OpenSsl.ensureAvailability();
        }
        KeyStore store = KeyStore.getInstance("PKCS12");
        try (InputStream in = new FileInputStream(keys)) {
            store.load(in, "changeit".toCharArray());
        }
        KeyManagerFactory key = KeyManagerFactory.getInstance("SunX509");
        key.init(store, "changeit".toCharArray());
        ApplicationProtocolConfig alpn = new ApplicationProtocolConfig(
            ApplicationProtocolConfig.Protocol.ALPN, ApplicationProtocolConfig.SelectorFailureBehavior.NO_ADVERTISE,
            ApplicationProtocolConfig.SelectedListenerFailureBehavior.ACCEPT, "h2");
        SslContext serving = SslContextBuilder.forServer(key).sslProvider(kind).sslContextProvider(provider)
            .applicationProtocolConfig(alpn).build();
        SslContext asking = SslContextBuilder.forClient().sslProvider(kind).sslContextProvider(provider)
            .applicationProtocolConfig(alpn).trustManager(InsecureTrustManagerFactory.INSTANCE).build();
        SSLEngine client = asking.newEngine(UnpooledByteBufAllocator.DEFAULT);
        SSLEngine server = serving.newEngine(UnpooledByteBufAllocator.DEFAULT);
        ByteBuffer there = ByteBuffer.allocate(1 << 17), back = ByteBuffer.allocate(1 << 17);
        ByteBuffer got = ByteBuffer.allocate(1 << 17), none = ByteBuffer.allocate(0), text = ByteBuffer.wrap(TEXT);
        client.beginHandshake();
        server.beginHandshake();
        for (int i = 0; i < 80 && got.position() < TEXT.length; i++) {
            boolean ready = i > 6 && client.getHandshakeStatus() == HandshakeStatus.NOT_HANDSHAKING;
            client.wrap(ready ? text : none, there);
            finish(client);
            there.flip();
            server.unwrap(there, got);
            there.compact();
            finish(server);
            server.wrap(none, back);
            finish(server);
            back.flip();
            client.unwrap(back, ByteBuffer.allocate(1 << 17));
            back.compact();
            finish(client);
        }
        got.flip();
        byte[] read = new byte[got.remaining()];
        got.get(read);
        if (!Arrays.equals(read, TEXT)) {
            throw new IllegalStateException("the text did not arrive");
        }
        return "a text over " + server.getSession().getProtocol();
    }

    private static void finish(SSLEngine engine) {
        for (Runnable task; (task = engine.getDelegatedTask()) != null; ) {
            task.run();
        }
    }

    /** One file out of the class path, given to the dynamic loader. */
    private static String load(String entry) throws Exception {
        File file = File.createTempFile("made", ".so");
        try (InputStream in = Try.class.getResourceAsStream("/" + entry)) {
            Files.copy(in, file.toPath(), StandardCopyOption.REPLACE_EXISTING);
        }
        System.load(file.getPath());
        return entry + " is loaded";
    }

    @io.netty.channel.ChannelHandler.Sharable
    private static final class Echo extends ChannelInboundHandlerAdapter {
        @Override
        public void channelRead(ChannelHandlerContext context, Object message) {
            context.writeAndFlush(message);
        }
    }

    private static final class Listen extends SimpleChannelInboundHandler<ByteBuf> {
        private final SynchronousQueue<String> told;

        Listen(SynchronousQueue<String> told) {
            this.told = told;
        }

        @Override
        protected void channelRead0(ChannelHandlerContext context, ByteBuf message) throws Exception {
            told.offer(message.toString(StandardCharsets.UTF_8), 60, TimeUnit.SECONDS);
        }
    }
}
