//! The MCP management server: eight tools over one host, on stdin and stdout or under `/mcp/admin`.
