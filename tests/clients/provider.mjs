// An OpenID Connect provider (npm oidc-provider): node provider.mjs PORT REDIRECT_URI
import Provider from "oidc-provider";

const [port, redirect] = process.argv.slice(2);
const provider = new Provider(`http://127.0.0.1:${port}`, {
  clients: [
    {
      client_id: "isocentre",
      client_secret: "not-a-real-secret",
      redirect_uris: [redirect],
    },
  ],
  pkce: { required: () => true },
  claims: { openid: ["sub"] },
  cookies: { keys: ["test"] },
});
provider.listen(Number(port), "127.0.0.1", () => console.log("listening"));
