// An OpenID provider on loopback, with its own login page: whoever types a name is that person, and a name that is a
// role is that person's role. `node provider.mjs <redirect URI>`; prints its issuer.
import { createServer } from "node:http";
import Provider from "oidc-provider";

const server = createServer();
server.listen(0, "localhost", () => {
  const issuer = `http://localhost:${server.address().port}`;
  const provider = new Provider(issuer, {
    clients: [{ client_id: "console", client_secret: "a secret: with & and %", redirect_uris: [process.argv[2]] }],
    claims: { openid: ["sub"], profile: ["roles"] },
    findAccount: (_, id) => ({
      accountId: id,
      claims: () => ({ sub: id, roles: ["viewer", "reader", "operator"].includes(id) ? [id] : [] }),
    }),
    pkce: { required: () => true },
    cookies: { keys: ["of a test"] },
  });
  server.on("request", provider.callback());
  console.log(issuer);
});
