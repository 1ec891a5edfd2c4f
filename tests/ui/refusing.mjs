// A provider that refuses each request as its message says: "STATUS SECONDS", or "never" to be silent.

import http from "node:http";

const server = http.createServer(async (request, response) => {
  let body = "";
  for await (const piece of request) body += piece;
  const [status, seconds] = JSON.parse(body).messages.at(-1).content.split(" ");
  if (status === "never") return;
  response.writeHead(Number(status), { "retry-after": seconds }).end();
});
server.listen(0, "127.0.0.1", () => console.log(`http://127.0.0.1:${server.address().port}`));
