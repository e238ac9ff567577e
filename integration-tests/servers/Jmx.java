import javax.management.ObjectName;
import javax.management.remote.JMXConnectorFactory;
import javax.management.remote.JMXServiceURL;

/** Prints an attribute of a bean of a Java process on this machine: PORT BEAN ATTRIBUTE. */
public final class Jmx {
    public static void main(String[] args) throws Exception {
        var url = new JMXServiceURL("service:jmx:rmi:///jndi/rmi://127.0.0.1:" + args[0] + "/jmxrmi");
        try (var connector = JMXConnectorFactory.connect(url)) {
            var connection = connector.getMBeanServerConnection();
            System.out.println(connection.getAttribute(new ObjectName(args[1]), args[2]));
        }
    }
}
