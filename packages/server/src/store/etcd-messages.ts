/**
 * The part of etcd's API that is used here, all of which etcd 3.4 has, as the tree that a .proto file is parsed into: in the code, so that
 * nothing has to be read from a file when it is needed. Numbers and names are etcd's.
 */
export const ETCD_PROTO = {
  nested: {
    mvccpb: {
      nested: {
        KeyValue: {
          fields: {
            key: { type: "bytes", id: 1 },
            create_revision: { type: "int64", id: 2 },
            mod_revision: { type: "int64", id: 3 },
            version: { type: "int64", id: 4 },
            value: { type: "bytes", id: 5 },
            lease: { type: "int64", id: 6 },
          },
        },
        Event: { fields: { type: { type: "int32", id: 1 }, kv: { type: "KeyValue", id: 2 } } },
      },
    },
    etcdserverpb: {
      nested: {
        KV: {
          methods: {
            Range: { requestType: "RangeRequest", responseType: "RangeResponse" },
            Txn: { requestType: "TxnRequest", responseType: "TxnResponse" },
          },
        },
        Watch: {
          methods: {
            Watch: {
              requestType: "WatchRequest",
              requestStream: true,
              responseType: "WatchResponse",
              responseStream: true,
            },
          },
        },
        Maintenance: {
          methods: { Status: { requestType: "StatusRequest", responseType: "StatusResponse" } },
        },
        Auth: {
          methods: {
            Authenticate: { requestType: "AuthenticateRequest", responseType: "AuthenticateResponse" },
          },
        },
        ResponseHeader: {
          fields: {
            cluster_id: { type: "uint64", id: 1 },
            member_id: { type: "uint64", id: 2 },
            revision: { type: "int64", id: 3 },
            raft_term: { type: "uint64", id: 4 },
          },
        },
        RangeRequest: {
          fields: {
            key: { type: "bytes", id: 1 },
            range_end: { type: "bytes", id: 2 },
            limit: { type: "int64", id: 3 },
            revision: { type: "int64", id: 4 },
            serializable: { type: "bool", id: 7 },
          },
        },
        RangeResponse: {
          fields: {
            header: { type: "ResponseHeader", id: 1 },
            kvs: { rule: "repeated", type: "mvccpb.KeyValue", id: 2 },
            more: { type: "bool", id: 3 },
            count: { type: "int64", id: 4 },
          },
        },
        PutRequest: { fields: { key: { type: "bytes", id: 1 }, value: { type: "bytes", id: 2 } } },
        PutResponse: { fields: { header: { type: "ResponseHeader", id: 1 } } },
        DeleteRangeRequest: {
          fields: { key: { type: "bytes", id: 1 }, range_end: { type: "bytes", id: 2 } },
        },
        DeleteRangeResponse: {
          fields: { header: { type: "ResponseHeader", id: 1 }, deleted: { type: "int64", id: 2 } },
        },
        RequestOp: {
          oneofs: { request: { oneof: ["request_range", "request_put", "request_delete_range"] } },
          fields: {
            request_range: { type: "RangeRequest", id: 1 },
            request_put: { type: "PutRequest", id: 2 },
            request_delete_range: { type: "DeleteRangeRequest", id: 3 },
          },
        },
        ResponseOp: {
          oneofs: { response: { oneof: ["response_range", "response_put", "response_delete_range"] } },
          fields: {
            response_range: { type: "RangeResponse", id: 1 },
            response_put: { type: "PutResponse", id: 2 },
            response_delete_range: { type: "DeleteRangeResponse", id: 3 },
          },
        },
        Compare: {
          oneofs: { target_union: { oneof: ["mod_revision", "value"] } },
          fields: {
            result: { type: "int32", id: 1 },
            target: { type: "int32", id: 2 },
            key: { type: "bytes", id: 3 },
            mod_revision: { type: "int64", id: 6 },
            value: { type: "bytes", id: 7 },
            range_end: { type: "bytes", id: 64 },
          },
        },
        TxnRequest: {
          fields: {
            compare: { rule: "repeated", type: "Compare", id: 1 },
            success: { rule: "repeated", type: "RequestOp", id: 2 },
            failure: { rule: "repeated", type: "RequestOp", id: 3 },
          },
        },
        TxnResponse: {
          fields: {
            header: { type: "ResponseHeader", id: 1 },
            succeeded: { type: "bool", id: 2 },
            responses: { rule: "repeated", type: "ResponseOp", id: 3 },
          },
        },
        WatchRequest: {
          oneofs: { request_union: { oneof: ["create_request"] } },
          fields: { create_request: { type: "WatchCreateRequest", id: 1 } },
        },
        WatchCreateRequest: {
          fields: {
            key: { type: "bytes", id: 1 },
            range_end: { type: "bytes", id: 2 },
            start_revision: { type: "int64", id: 3 },
          },
        },
        WatchResponse: {
          fields: {
            header: { type: "ResponseHeader", id: 1 },
            watch_id: { type: "int64", id: 2 },
            created: { type: "bool", id: 3 },
            canceled: { type: "bool", id: 4 },
            compact_revision: { type: "int64", id: 5 },
            cancel_reason: { type: "string", id: 6 },
            events: { rule: "repeated", type: "mvccpb.Event", id: 11 },
          },
        },
        StatusRequest: { fields: {} },
        StatusResponse: {
          fields: {
            header: { type: "ResponseHeader", id: 1 },
            version: { type: "string", id: 2 },
            dbSize: { type: "int64", id: 3 },
            leader: { type: "uint64", id: 4 },
            raftIndex: { type: "uint64", id: 5 },
            raftTerm: { type: "uint64", id: 6 },
            errors: { rule: "repeated", type: "string", id: 8 },
            dbSizeInUse: { type: "int64", id: 9 },
          },
        },
        AuthenticateRequest: {
          fields: { name: { type: "string", id: 1 }, password: { type: "string", id: 2 } },
        },
        AuthenticateResponse: {
          fields: { header: { type: "ResponseHeader", id: 1 }, token: { type: "string", id: 2 } },
        },
      },
    },
  },
};

/** Of 64 bits in text: JavaScript's numbers do not hold all of them. */
export interface HeaderMessage {
  readonly member_id: string;
  readonly revision: string;
}

export interface KeyValueMessage {
  readonly key: Buffer;
  readonly mod_revision: string;
  readonly value: Buffer;
}

export interface RangeMessage {
  readonly header: HeaderMessage | null;
  readonly kvs: readonly KeyValueMessage[];
  readonly more: boolean;
}

export interface TxnMessage {
  readonly header: HeaderMessage;
  readonly succeeded: boolean;
  readonly responses: readonly { readonly response_range?: RangeMessage }[];
}

export interface StatusMessage {
  readonly header: HeaderMessage;
  readonly version: string;
  readonly dbSize: string;
  readonly dbSizeInUse: string;
  readonly leader: string;
  readonly raftTerm: string;
  readonly errors: readonly string[];
}

export interface WatchMessage {
  readonly created: boolean;
  readonly canceled: boolean;
  readonly events: readonly { readonly kv: KeyValueMessage }[];
}
