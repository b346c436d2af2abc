%%% mod_cusax: what the cusax component needs done inside the server.
%%%
%%% Holds a map of who holds which SIP addresses and telephone numbers and where they can be reached now, as the
%%% component tells it (urn:x-cusax:plugin:0), and
%%%   * puts <reach xmlns='urn:xmpp:reach:0'/> (XEP-0152) into presence that leaves,
%%%   * puts <addr xmlns='urn:x-cusax:roster:0'/> into the rosters of clients that ask for it,
%%%   * lets the component judge every card with a telephone entry before it is stored,
%%%   * publishes the activity of users on the phone (XEP-0108).
%%% It knows nothing of numbers: it compares whole URIs. Presence and rosters never wait for the component.
%%% Tested with ejabberd 23.01. Options and installation: README.md beside this file.
%%%
%%% One process for each virtual host writes the map and does whatever takes long, in the order in which the component
%%% asked for it; sessions read the map by themselves. In a cluster each node has such a process and the whole map; the
%%% one that the component spoke to passes on what it was told, and each tells the sessions of its own node.
%%%
%%% It is one file, however long, since ejabberd loads one module anew when it is told to restart one.

-module(mod_cusax).
-behaviour(gen_mod).
-behaviour(gen_server).

-export([start/2, stop/1, reload/3, depends/2, mod_opt_type/1, mod_options/1, mod_doc/0]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, terminate/2, code_change/3]).
-export([decode_iq_subel/1, process_iq/1]).
-export([self_presence/1, user_send/1, user_receive/1, copy_session/2, session_info/2, session_ends/2,
         filter_packet/1, component_sends/1, component_connected/1, server_features/5,
         account_features/5]).

-include("logger.hrl").
-include("xmpp.hrl").
-include("ejabberd_sm.hrl").

-define(VERSION, <<"1">>). % of the protocol; the component has the same

-define(NS_PLUGIN, <<"urn:x-cusax:plugin:0">>).
-define(NS_ROSTER_ADDR, <<"urn:x-cusax:roster:0">>).
-define(NS_REACH, <<"urn:xmpp:reach:0">>).
-define(NS_ACTIVITY, <<"http://jabber.org/protocol/activity">>).

-define(MAX_REACH, 8). % addresses in one presence
-define(MAX_USERS, 500000). % users in the map
-define(BATCH, 200). % users whose contacts are told at a time,
-define(PAUSE, 100). % and how often, in milliseconds
-define(COPY, 1000). % how long another node may take to begin with its map, in milliseconds
-define(FAREWELL, 5000). % how long sessions may take to forget us, in milliseconds

-record(state, {
    host :: binary(),
    proc :: atom(),
    map :: ets:tid(), % {username, held, reach}, both as on the line
    epoch :: undefined | binary(), % of the map; undefined before the first synchronisation
    seq :: undefined | integer(),
    staging :: undefined | {ets:tid(), non_neg_integer()}, % the map that is being received, and how many lines it had
    copying :: undefined | {node(), ets:tid()}, % the map that another node sends
    asked :: integer(), % when another node was asked for its map, in milliseconds
    active = #{} :: #{binary() => true}, % usernames for which we have published an activity
    waiting = #{} :: #{binary() => boolean()}, % whose contacts must be told; whether addresses have changed
    working = false :: boolean()
}).

%% ---------------------------------------------------------------- the module

start(Host, Opts) ->
    gen_mod:start_child(?MODULE, Host, Opts).

stop(Host) ->
    gen_mod:stop_child(?MODULE, Host).

reload(Host, _NewOpts, _OldOpts) ->
    gen_server:cast(proc(Host), reload).

depends(_Host, _Opts) ->
    [{mod_roster, soft}, {mod_pubsub, soft}].

mod_opt_type(component) ->
    econf:host();
mod_opt_type(audience) ->
    econf:enum([local, roster, all]);
mod_opt_type(check_timeout) ->
    econf:timeout(second);
mod_opt_type(jobs) ->
    econf:list(econf:enum([reach, roster, vcard]), [unique]).

mod_options(Host) ->
    [{component, <<"calls.", Host/binary>>},
     {audience, roster},
     {check_timeout, timer:seconds(3)},
     {jobs, [reach, roster, vcard]}].

mod_doc() ->
    #{desc =>
          [<<"Carries out what the cusax component decides: addresses of XEP-0152 in presence, verified addresses in "
             "the rosters of clients that ask, telephone numbers in cards judged before they are stored.">>],
      opts =>
          [{component,
            #{value => <<"Host">>,
              desc => <<"The component's name. The default is 'calls.' and the virtual host.">>}},
           {audience,
            #{value => <<"local | roster | all">>,
              desc => <<"Who sees where users can be reached: users of this server only, also contacts elsewhere who "
                        "may see the presence (the default), or whoever gets presence. Rooms never see it.">>}},
           {check_timeout,
            #{value => <<"timeout()">>,
              desc => <<"How long a card may wait for the component. The default is 3 seconds.">>}},
           {jobs,
            #{value => <<"[reach, roster, vcard]">>,
              desc => <<"What this host is to have: reach in presence, addresses in rosters, checked cards. "
                        "The default is all of them.">>}}]}.

proc(Host) ->
    gen_mod:get_module_proc(Host, ?MODULE).

opt(Host, Name) ->
    gen_mod:get_module_opt(Host, ?MODULE, Name).

does(Host, Job) ->
    lists:member(Job, opt(Host, jobs)).

init([Host | _]) ->
    process_flag(trap_exit, true),
    Proc = proc(Host),
    Map = new_map(),
    %% Sessions write themselves into `opted`. Its owner and that of the maps is this process: all of it goes together.
    ets:new(Proc, [named_table, public, {read_concurrency, true}]),
    ets:insert(Proc, [{map, Map}, {opted, ets:new(opted, [public])}]),
    [ejabberd_hooks:add(Hook, Host, ?MODULE, Function, Priority) || {Hook, Function, Priority} <- host_hooks()],
    [ejabberd_hooks:add(Hook, ?MODULE, Function, Priority) || {Hook, Function, Priority} <- global_hooks()],
    gen_iq_handler:add_iq_handler(ejabberd_local, Host, ?NS_PLUGIN, ?MODULE, process_iq),
    watch_audience(Host),
    %% Those that have asked for addresses before this process was started are to be known.
    [ejabberd_c2s:route(Pid, cusax_register) || Pid <- sessions(Host)],
    State = #state{host = Host, proc = Proc, map = Map, asked = now_in_ms()},
    need_sync(State),
    [ask(Node, State) || Node <- other_nodes()],
    {ok, State}.

host_hooks() ->
    [{c2s_self_presence, self_presence, 60},
     {user_send_packet, user_send, 40}, % before modules that decode what they know, and lose what they do not
     {user_receive_packet, user_receive, 90},
     {c2s_copy_session, copy_session, 60},
     {c2s_handle_info, session_info, 10},
     {c2s_terminated, session_ends, 60},
     {disco_local_features, server_features, 80},
     {disco_sm_features, account_features, 80}].

global_hooks() ->
    [{component_send_packet, component_sends, 10},
     {component_connected, component_connected, 60}].

watch_audience(Host) ->
    %% Broadcast presence is one stanza for all contacts, so hiding it from some costs a look at every stanza.
    case lists:any(fun(Each) -> opt(Each, audience) == local end, [Host | others(Host)]) of
        true -> ejabberd_hooks:add(filter_packet, ?MODULE, filter_packet, 80);
        false -> ejabberd_hooks:delete(filter_packet, ?MODULE, filter_packet, 80)
    end.

%% The other virtual hosts that have this module.
others(Host) ->
    [Other || Other <- ejabberd_option:hosts(), Other /= Host, gen_mod:is_loaded(Other, ?MODULE)].

%% The sessions on this node.
sessions(Host) ->
    [Pid || #session{us = {_, Server}, sid = {_, Pid}} <- ejabberd_sm:dirty_get_my_sessions_list(), Server == Host].

sessions_of(Host, User) ->
    [Pid || {_, Pid} <- ejabberd_sm:get_session_sids(User, Host), node(Pid) == node()].

terminate(_Reason, #state{host = Host}) ->
    gen_iq_handler:remove_iq_handler(ejabberd_local, Host, ?NS_PLUGIN),
    {Hooks, Last} = lists:partition(fun({Hook, _, _}) -> Hook /= c2s_handle_info end, host_hooks()),
    [ejabberd_hooks:delete(Hook, Host, ?MODULE, Function, Priority) || {Hook, Function, Priority} <- Hooks],
    case others(Host) of
        [] ->
            [ejabberd_hooks:delete(Hook, ?MODULE, Function, Priority) || {Hook, Function, Priority} <- global_hooks()],
            ejabberd_hooks:delete(filter_packet, ?MODULE, filter_packet, 80);
        _ ->
            ok
    end,
    %% Presence must not go on saying what nobody keeps true any more. Contacts are told at the usual pace.
    Pids = sessions(Host),
    Delays = [Place div ?BATCH * ?PAUSE || Place <- lists:seq(0, length(Pids) - 1)],
    Marks = [monitor(process, Pid) || Pid <- Pids],
    [ejabberd_c2s:route(Pid, {cusax_undress, self(), Mark, Delay})
     || {Pid, Mark, Delay} <- lists:zip3(Pids, Marks, Delays)],
    Deadline = now_in_ms() + ?FAREWELL,
    [await(Mark, Deadline) || Mark <- Marks],
    [ejabberd_hooks:delete(Hook, Host, ?MODULE, Function, Priority) || {Hook, Function, Priority} <- Last].

await(Mark, Deadline) ->
    receive
        {undressed, Mark} -> demonitor(Mark, [flush]);
        {'DOWN', Mark, _, _, _} -> ok
    after max(0, Deadline - now_in_ms()) ->
        ok
    end.

code_change(_OldVsn, State, _Extra) ->
    {ok, State}.

handle_call(_Request, _From, State) ->
    {noreply, State}.

handle_cast({iq, IQ}, State) ->
    {noreply, component_asks(IQ, State)};
handle_cast(need_sync, State) ->
    need_sync(State),
    {noreply, State};
handle_cast(reload, #state{host = Host} = State) ->
    watch_audience(Host),
    need_sync(State),
    {noreply, State};
handle_cast({node, Node, Step}, State) ->
    {noreply, node_says(Node, Step, State)};
handle_cast(_Message, State) ->
    {noreply, State}.

handle_info(work, State) ->
    {noreply, work(State#state{working = false})};
handle_info({iq_reply, Answer, {card, IQ}}, State) ->
    card_judged(Answer, IQ, State),
    {noreply, State};
handle_info(_Message, State) ->
    {noreply, State}.

%% ---------------------------------------------------------------- the map

new_map() ->
    ets:new(map, [protected, {read_concurrency, true}]).

%% What is known of a user: what they hold and where they can be reached, each as it stands on the line.
entry(Host, User) ->
    try ets:lookup_element(proc(Host), map, 2) of
        Map ->
            try ets:lookup(Map, User) of
                [{_, Held, Reach}] -> {Held, Reach};
                [] -> {<<>>, <<>>}
            catch
                %% A new map has just come into its place.
                error:badarg -> entry(Host, User)
            end
    catch
        error:badarg -> {<<>>, <<>>}
    end.

held(Host, User) ->
    element(1, entry(Host, User)).

words(List) ->
    binary:split(List, <<" ">>, [global, trim_all]).

%% The addresses in a list of held ones, each with whether it takes video.
addresses(Held) ->
    [case binary:split(Word, <<"|">>) of
         [Uri] -> {Uri, false};
         [Uri, Marks] -> {Uri, Marks == <<"video">>}
     end || Word <- words(Held)].

%% All lines of a text; an error if any of them is none.
read_lines(Host, Text) ->
    read_lines(Host, binary:split(Text, <<"\n">>, [global]), []).

read_lines(Host, [<<>> | Rest], Rows) ->
    read_lines(Host, Rest, Rows);
read_lines(Host, [Line | Rest], Rows) ->
    case read_line(Host, Line) of
        error -> error;
        Row -> read_lines(Host, Rest, [Row | Rows])
    end;
read_lines(_Host, [], Rows) ->
    {ok, lists:reverse(Rows)}.

read_line(Host, Line) ->
    case binary:split(Line, <<"\t">>, [global]) of
        [Jid, _Rev, Held, Reach] ->
            case binary:match(Line, <<"\\">>) of
                nomatch ->
                    read_fields(Host, Jid, Held, Reach);
                _ ->
                    try
                        read_fields(Host, unescape(Jid, <<>>), unescape(Held, <<>>), unescape(Reach, <<>>))
                    catch
                        error:function_clause -> error
                    end
            end;
        _ ->
            error
    end.

read_fields(Host, Jid, Held, Reach) ->
    Server = byte_size(Host),
    Length = byte_size(Jid) - Server - 1,
    case Jid of
        <<User:Length/binary, $@, Host:Server/binary>> when User /= <<>> ->
            case jid:nodeprep(User) == User andalso are_addresses(Held) of
                %% Copied, since a part of a binary keeps the whole of it.
                true -> {binary:copy(User), binary:copy(Held), binary:copy(Reach)};
                false -> error
            end;
        _ ->
            error
    end.

%% Marks follow an address.
are_addresses(<<"|", _/binary>>) -> false;
are_addresses(Held) -> binary:match(Held, <<" |">>) == nomatch.

unescape(<<"\\t", Rest/binary>>, Text) -> unescape(Rest, <<Text/binary, "\t">>);
unescape(<<"\\r", Rest/binary>>, Text) -> unescape(Rest, <<Text/binary, "\r">>);
unescape(<<"\\n", Rest/binary>>, Text) -> unescape(Rest, <<Text/binary, "\n">>);
unescape(<<"\\\\", Rest/binary>>, Text) -> unescape(Rest, <<Text/binary, "\\">>);
unescape(<<Byte, Rest/binary>>, Text) when Byte /= $\\ -> unescape(Rest, <<Text/binary, Byte>>);
unescape(<<>>, Text) -> Text.

%% ---------------------------------------------------------------- presence

%% What contacts get. The result is stored, so whoever probes gets it too.
self_presence({#presence{type = Type} = Pres, #{lserver := Host} = State}) ->
    case does(Host, reach) of
        true -> {dress(Pres, State, Type == available), State};
        false -> {Pres, State}
    end.

%% What a client sends: presence for somebody, questions for the roster, and whatever is to be stored.
user_send({#presence{to = To} = Pres, #{jid := Jid, lserver := Host} = State} = Acc) ->
    case is_own_account(To, Jid) orelse not does(Host, reach) of
        true ->
            Acc;
        false ->
            {Room, State1} = note_room(Pres, State),
            Dressed = case Room orelse is_room_service(To#jid.lserver) of
                true -> set_reach(Pres, []);
                false -> dress(Pres, State1, Pres#presence.type == available andalso may_see(Jid, To))
            end,
            {Dressed, State1}
    end;
user_send({#iq{type = Type, to = To, sub_els = [#xmlel{} = El]} = IQ, #{jid := Jid} = State} = Acc) ->
    case is_own_account(To, Jid) of
        true when Type == get -> roster_asked(El, IQ, State);
        true when Type == set -> stored(El, IQ, State);
        _ -> Acc
    end;
user_send(Acc) ->
    Acc.

is_own_account(undefined, _) -> true;
is_own_account(#jid{luser = User, lserver = Host, lresource = <<>>}, #jid{luser = User, lserver = Host}) -> true;
is_own_account(_, _) -> false.

is_account(#jid{luser = User, lserver = Host, lresource = <<>>}, #{jid := #jid{luser = User, lserver = Host}}) -> true;
is_account(_, _) -> false.

%% Whether contacts at `To` may see where the user can be reached.
may_see(#jid{luser = User, lserver = Host}, #jid{luser = User, lserver = Host}) ->
    true;
may_see(#jid{luser = User, lserver = Host}, #jid{lserver = Server} = To) ->
    case {opt(Host, audience), ejabberd_router:is_my_host(Server)} of
        {all, _} ->
            true;
        {_, true} ->
            true;
        {roster, false} ->
            Nobody = {none, none, []},
            Info = ejabberd_hooks:run_fold(roster_get_jid_info, Host, Nobody, [User, Host, To]),
            lists:member(element(1, Info), [from, both]);
        {local, false} ->
            false
    end.

%% A room may be on any server: it is known by how the client entered it.
note_room(#presence{to = To, type = Type} = Pres, State) ->
    Rooms = maps:get(cusax_rooms, State, #{}),
    Room = jid:tolower(jid:remove_resource(To)),
    Enters = lists:any(fun(El) -> is_element(El, <<"x">>, ?NS_MUC) end, Pres#presence.sub_els)
        orelse xmpp:has_subtag(Pres, #muc{}),
    case Enters orelse maps:is_key(Room, Rooms) of
        true when Type == unavailable -> {true, State#{cusax_rooms => maps:remove(Room, Rooms)}};
        true -> {true, State#{cusax_rooms => Rooms#{Room => true}}};
        false -> {false, State}
    end.

is_room_service(Server) ->
    try ejabberd_router:host_of_route(Server) of
        Host ->
            gen_mod:is_loaded(Host, mod_muc) andalso lists:member(Server, gen_mod:get_module_opt_hosts(Host, mod_muc))
    catch
        error:{unregistered_route, _} -> false
    end.

%% The same presence passes here again when it is broadcast anew: what the client itself said is kept beside it, so that
%% passing again changes nothing.
dress(Pres, #{jid := #jid{luser = User, lserver = Host}}, Ours) ->
    Own = own_addresses(Pres),
    set_reach(xmpp:put_meta(Pres, cusax_own, Own), compose(entry(Host, User), Own, Ours)).

own_addresses(Pres) ->
    case xmpp:get_meta(Pres, cusax_own, undefined) of
        undefined -> shown_addresses(Pres);
        Own -> Own
    end.

shown_addresses(#presence{sub_els = Els}) ->
    [Uri || #xmlel{children = Addrs} = El <- Els, is_reach(El),
            #xmlel{name = <<"addr">>} = Addr <- Addrs,
            {value, Uri} <- [fxml:get_tag_attr(<<"uri">>, Addr)]].

set_reach(#presence{sub_els = Els} = Pres, Uris) ->
    Others = [El || El <- Els, not is_reach(El)],
    Reach = [element(<<"reach">>, ?NS_REACH, [], [element(<<"addr">>, [{<<"uri">>, Uri}], []) || Uri <- Uris])
             || Uris /= []],
    Pres#presence{sub_els = Others ++ Reach}.

is_reach(El) ->
    is_element(El, <<"reach">>, ?NS_REACH).

%% What the presence of a user says: ours first, then the client's own, which may name only held addresses.
compose({Held, Reach}, Own, Ours) ->
    Known = addresses(Held),
    May = [Uri || Uri <- Own, may_say(Uri, Known)],
    first(case Ours of
        true -> words(Reach) ++ May;
        false -> May
    end).

may_say(Uri, Known) ->
    case scheme(Uri) of
        none -> false;
        <<"sip">> -> lists:keymember(Uri, 1, Known);
        <<"sips">> -> lists:keymember(Uri, 1, Known);
        <<"tel">> -> lists:keymember(Uri, 1, Known);
        _ -> true
    end.

%% Each once, and no more than may stand there.
first(Uris) ->
    first(Uris, []).

first(_, Taken) when length(Taken) >= ?MAX_REACH ->
    lists:reverse(Taken);
first([Uri | Rest], Taken) ->
    case lists:member(Uri, Taken) of
        true -> first(Rest, Taken);
        false -> first(Rest, [Uri | Taken])
    end;
first([], Taken) ->
    lists:reverse(Taken).

scheme(<<Space, Rest/binary>>) when Space == $\s; Space >= $\t, Space =< $\r ->
    scheme(Rest);
scheme(<<Letter, _/binary>> = Uri) when Letter >= $a, Letter =< $z; Letter >= $A, Letter =< $Z ->
    case binary:split(Uri, <<":">>) of
        [Scheme, _] ->
            case lists:all(fun is_scheme_byte/1, binary_to_list(Scheme)) of
                true -> string:lowercase(Scheme);
                false -> none
            end;
        _ ->
            none
    end;
scheme(_) ->
    none.

is_scheme_byte(Byte) ->
    Byte >= $a andalso Byte =< $z orelse Byte >= $A andalso Byte =< $Z orelse Byte >= $0 andalso Byte =< $9
        orelse lists:member(Byte, "+.-").

%% Hides reach from other servers where it is for this one alone.
filter_packet(#presence{from = #jid{luser = User, lserver = Host} = From, to = #jid{} = To} = Pres) when User /= <<>> ->
    case gen_mod:is_loaded(Host, ?MODULE) andalso opt(Host, audience) == local andalso does(Host, reach)
        andalso not may_see(From, To) of
        true -> set_reach(Pres, compose(entry(Host, User), own_addresses(Pres), false));
        false -> Pres
    end;
filter_packet(Packet) ->
    Packet.

%% ---------------------------------------------------------------- rosters

roster_asked(#xmlel{name = <<"query">>} = El, IQ, #{jid := Jid, lserver := Host} = State) ->
    case fxml:get_tag_attr_s(<<"xmlns">>, El) of
        ?NS_ROSTER ->
            Asked = lists:any(fun(Child) -> is_element(Child, <<"annotate">>, ?NS_ROSTER_ADDR) end, El#xmlel.children),
            State1 = opt_in(Asked andalso does(Host, roster), State),
            {IQ#iq{sub_els = [native_version(El, Jid, State1)]}, State1};
        _ ->
            {IQ, State}
    end;
roster_asked(_, IQ, State) ->
    {IQ, State}.

%% The client's version is <native>-<digest>: if both are current, the answer may be empty. If not, a version that the
%% server does not know makes it send everything.
native_version(El, Jid, #{cusax_optin := true}) ->
    case fxml:get_tag_attr(<<"ver">>, El) of
        {value, Ver} when Ver /= <<>> ->
            Native = case binary:split(Ver, <<"-">>, [global]) of
                [_, _ | _] = Parts ->
                    {Before, [Mark]} = lists:split(length(Parts) - 1, Parts),
                    case digest(Jid#jid.lserver, roster(Jid)) of
                        Mark -> iolist_to_binary(lists:join("-", Before));
                        _ -> <<>>
                    end;
                _ ->
                    <<>>
            end,
            fxml:replace_tag_attr(<<"ver">>, Native, El);
        _ ->
            El
    end;
native_version(El, _, _) ->
    El.

opt_in(true, #{lserver := Host} = State) ->
    note_opted(Host, fun(Opted) -> ets:insert(Opted, {self()}) end),
    State#{cusax_optin => true};
opt_in(false, #{lserver := Host} = State) ->
    note_opted(Host, fun(Opted) -> ets:delete(Opted, self()) end),
    maps:remove(cusax_optin, State).

%% The tables are gone while the module is taken out.
note_opted(Host, Fun) ->
    try
        Fun(ets:lookup_element(proc(Host), opted, 2))
    catch
        error:badarg -> false
    end.

%% Others may send us what looks like a roster; only the server's own says what our user may see.
user_receive({#iq{type = Type, from = From, sub_els = [#roster_query{}]} = IQ, #{cusax_optin := true} = State})
  when Type == result; Type == set ->
    case is_account(From, State) of
        true -> {annotate(IQ, State), State};
        false -> {IQ, State}
    end;
user_receive(Acc) ->
    Acc.

annotate(#iq{type = Type, sub_els = [#roster_query{items = Items, ver = Ver} = Query]} = IQ,
         #{jid := Jid, lserver := Host}) ->
    Shown = maps:from_list([{jid:encode(Item#roster_item.jid), addresses(Held)}
                            || Item <- Items, Held <- [shown_held(Host, Item)], Held /= <<>>]),
    Version = case {Ver, Type} of
        {undefined, _} -> undefined;
        {<<>>, _} -> <<>>;
        {_, result} -> <<Ver/binary, "-", (digest(Host, Items))/binary>>;
        {_, set} -> <<Ver/binary, "-", (digest(Host, roster(Jid)))/binary>>
    end,
    #xmlel{children = Children} = El = xmpp:encode(Query#roster_query{ver = Version}),
    IQ#iq{sub_els = [El#xmlel{children = [annotated(Child, Shown) || Child <- Children]}]}.

annotated(#xmlel{children = Children} = Item, Shown) ->
    Addresses = maps:get(fxml:get_tag_attr_s(<<"jid">>, Item), Shown, []),
    Item#xmlel{children = Children ++ [
        element(<<"addr">>, ?NS_ROSTER_ADDR, [{<<"uri">>, Uri} | [{<<"video">>, <<"true">>} || Video]], [])
        || {Uri, Video} <- Addresses]};
annotated(Other, _) ->
    Other.

%% Without a subscription one could harvest addresses by adding anybody.
shown_held(Host, #roster_item{jid = #jid{luser = User, lserver = Host, lresource = <<>>}, subscription = Subscription})
  when User /= <<>>, Subscription == to orelse Subscription == both ->
    held(Host, User);
shown_held(_, _) ->
    <<>>.

%% A mark of the addresses that a roster shows.
digest(Host, Items) ->
    Lines = [[jid:encode(Item#roster_item.jid), $\t, Held]
             || Item <- Items, Held <- [shown_held(Host, Item)], Held /= <<>>],
    Hash = crypto:hash(sha256, lists:join($\n, lists:sort([iolist_to_binary(Line) || Line <- Lines]))),
    binary:part(string:lowercase(binary:encode_hex(Hash)), 0, 16).

roster(#jid{luser = User, lserver = Host}) ->
    ejabberd_hooks:run_fold(roster_get, Host, [], [{User, Host}]).

%% Tells this node's clients that asked for addresses that those of `User` have changed.
push(User, #state{host = Host, proc = Proc}) ->
    Opted = ets:lookup_element(Proc, opted, 2),
    Changed = jid:make(User, Host),
    %% Nobody's roster is read for nobody.
    Items = case ets:info(Opted, size) of
        0 -> [];
        _ -> roster(Changed)
    end,
    [ejabberd_c2s:route(Pid, {cusax_push, Changed})
     || #roster_item{jid = #jid{luser = Watcher, lserver = Server}, subscription = Sees} <- Items,
        Server == Host, Sees == from orelse Sees == both,
        Pid <- sessions_of(Host, Watcher), ets:member(Opted, Pid)],
    ok.

%% ---------------------------------------------------------------- sessions

%% Runs in the session that is meant.
session_info(State, cusax_refresh) ->
    refresh(State),
    {stop, State};
session_info(#{cusax_optin := true, jid := Jid, lserver := Host} = State, {cusax_push, Changed}) ->
    Wanted = jid:tolower(Changed),
    Items = [Item || #roster_item{jid = Each, subscription = Sees} = Item <- roster(Jid),
                     Sees == to orelse Sees == both, jid:tolower(Each) == Wanted],
    Version = case mod_roster_opt:versioning(Host) of
        true -> mod_roster:roster_version(Host, Jid#jid.luser);
        false -> undefined
    end,
    Push = fun(Item, Acc) ->
        Query = #roster_query{ver = Version, items = [Item#roster_item{mix_channel = undefined}]},
        IQ = #iq{type = set, id = <<"push", (p1_rand:get_string())/binary>>, from = jid:remove_resource(Jid), to = Jid,
                 sub_els = [Query]},
        ejabberd_c2s:send(Acc, annotate(IQ, Acc))
    end,
    {stop, lists:foldl(Push, State, Items)};
session_info(State, {cusax_push, _}) ->
    {stop, State};
session_info(#{cusax_optin := true} = State, cusax_register) ->
    {stop, opt_in(true, State)};
session_info(State, cusax_register) ->
    {stop, State};
session_info(State, {cusax_undress, From, Mark, Delay}) ->
    From ! {undressed, Mark},
    case State of
        #{pres_last := Pres} ->
            Bare = set_reach(Pres, compose({<<>>, <<>>}, own_addresses(Pres), false)),
            %% By then this module is gone, and what is said again is what stands there now.
            [erlang:send_after(Delay, self(), {resend_presence, undefined})
             || shown_addresses(Bare) /= shown_addresses(Pres)],
            {stop, State#{pres_last => xmpp:del_meta(Bare, cusax_own)}};
        _ ->
            {stop, State}
    end;
session_info(State, _) ->
    State.

%% Presence is broadcast again only where it would say something else.
refresh(#{pres_last := Pres, jid := #jid{luser = User, lserver = Host}}) ->
    case compose(entry(Host, User), own_addresses(Pres), true) == shown_addresses(Pres) of
        true -> ok;
        false -> ejabberd_c2s:resend_presence(self())
    end;
refresh(_) ->
    ok.

%% A resumed stream (XEP-0198) goes on in a session of its own.
copy_session(State, OldState) ->
    State1 = maps:merge(State, maps:with([cusax_rooms], OldState)),
    case OldState of
        #{cusax_optin := true} -> opt_in(true, State1);
        _ -> State1
    end.

session_ends(#{cusax_optin := true, lserver := Host} = State, _Reason) ->
    note_opted(Host, fun(Opted) -> ets:delete(Opted, self()) end),
    State;
session_ends(State, _Reason) ->
    State.

server_features(Acc, _From, #jid{lserver = Host}, <<>>, _Lang) ->
    case does(Host, roster) of
        true -> feature(?NS_ROSTER_ADDR, Acc);
        false -> Acc
    end;
server_features(Acc, _From, _To, _Node, _Lang) ->
    Acc.

%% Where nobody has answered yet it is not for us to say that one may ask.
account_features({result, _} = Acc, _From, _To, <<>>, _Lang) ->
    feature(?NS_REACH, Acc);
account_features(Acc, _From, _To, _Node, _Lang) ->
    Acc.

feature(Feature, {result, Features}) -> {result, [Feature | Features]};
feature(Feature, empty) -> {result, [Feature]};
feature(_, Acc) -> Acc.

%% ---------------------------------------------------------------- changes

%% Adds a user whose line has changed to those whose contacts must be told.
note(_, Same, Same, Waiting) ->
    Waiting;
note(User, {OldHeld, _}, {NewHeld, _}, Waiting) ->
    Waiting#{User => OldHeld /= NewHeld orelse maps:get(User, Waiting, false)}.

%% The first batch goes at once: one changed user is told without delay.
tell(#state{working = true} = State) ->
    State;
tell(State) ->
    work(State).

work(#state{waiting = Waiting} = State) when map_size(Waiting) == 0 ->
    State;
work(State) ->
    #state{host = Host, waiting = Waiting} = Fewer = only_who_matters(State),
    {Batch, Rest} = take(?BATCH, maps:iterator(Waiting), Waiting),
    lists:foreach(fun({User, HeldChanged}) ->
        HeldChanged andalso push(User, Fewer),
        [ejabberd_c2s:route(Pid, cusax_refresh) || Pid <- sessions_of(Host, User)]
    end, Batch),
    erlang:send_after(?PAUSE, self(), work),
    Fewer#state{waiting = Rest, working = true}.

%% Where nobody asks for addresses, only users who are here have anybody to tell. Whoever comes later sees what is true.
only_who_matters(#state{host = Host, proc = Proc, waiting = Waiting} = State) when map_size(Waiting) > ?BATCH ->
    case ets:info(ets:lookup_element(Proc, opted, 2), size) of
        0 ->
            Here = [User || #session{us = {User, Server}} <- ejabberd_sm:dirty_get_my_sessions_list(), Server == Host],
            State#state{waiting = maps:with(Here, Waiting)};
        _ ->
            State
    end;
only_who_matters(State) ->
    State.

take(0, _, Rest) ->
    {[], Rest};
take(Count, Iterator, Rest) ->
    case maps:next(Iterator) of
        none ->
            {[], Rest};
        {User, HeldChanged, Next} ->
            {Batch, Left} = take(Count - 1, Next, maps:remove(User, Rest)),
            {[{User, HeldChanged} | Batch], Left}
    end.

%% ---------------------------------------------------------------- what the component says

decode_iq_subel(El) ->
    %% The codec does not know ours.
    El.

%% Runs in the component's own stream: what a component may say for itself is known there, whatever the listener checks.
component_sends({#iq{from = #jid{luser = <<>>, lserver = Server}} = IQ, #{host_opts := Names} = State})
  when is_map_key(Server, Names) ->
    {xmpp:put_meta(IQ, cusax_component, Server), State};
component_sends(Acc) ->
    Acc.

component_connected(Component) ->
    [gen_server:cast(proc(Host), need_sync)
     || Host <- ejabberd_option:hosts(), gen_mod:is_loaded(Host, ?MODULE), opt(Host, component) == Component],
    ok.

process_iq(#iq{type = Type, to = #jid{lserver = Host}, sub_els = [#xmlel{name = Name}], lang = Lang} = IQ) ->
    Known = lists:member({Type, Name}, [{get, <<"state">>}, {set, <<"sync">>}, {set, <<"publish">>}]),
    case Known andalso xmpp:get_meta(IQ, cusax_component, undefined) == opt(Host, component) of
        true ->
            gen_server:cast(proc(Host), {iq, IQ}),
            ignore;
        false when Known ->
            refusal(IQ, xmpp:err_forbidden(<<"Only the component may say that.">>, Lang));
        false ->
            refusal(IQ, xmpp:err_service_unavailable())
    end.

%% Unlike the server's own errors, without what was asked: that may be long.
refusal(IQ, Error) ->
    xmpp:make_error(IQ#iq{sub_els = []}, Error).

component_asks(#iq{sub_els = [#xmlel{name = Name} = El]} = IQ, State) ->
    case component_asks(Name, El, IQ, State) of
        {ok, State1} ->
            ejabberd_router:route(xmpp:make_iq_result(IQ)),
            tell(State1);
        {result, Answer} ->
            ejabberd_router:route(xmpp:make_iq_result(IQ, Answer)),
            State;
        {error, Error, State1} ->
            ejabberd_router:route(refusal(IQ, Error)),
            State1
    end.

component_asks(<<"state">>, El, IQ, State) ->
    case same_version(El, IQ) of
        ok -> {result, element(<<"state">>, ?NS_PLUGIN, state_attributes(State), [])};
        Error -> {error, Error, State}
    end;
component_asks(<<"sync">>, El, IQ, State) ->
    Step = sync_step(El),
    Version = case Step of
        start -> same_version(El, IQ);
        _ -> ok
    end,
    case {Version, Step} of
        {ok, bad_request} ->
            {error, xmpp:err_bad_request(), drop_staging(State)};
        {ok, _} ->
            case apply_step(Step, State) of
                {ok, State1} ->
                    to_other_nodes(Step, State1),
                    {ok, State1};
                conflict ->
                    {error, xmpp:err_conflict(), drop_staging(State)}
            end;
        {Error, _} ->
            {error, Error, State}
    end;
component_asks(<<"publish">>, El, IQ, State) ->
    case publication(El, State) of
        {User, Id, Payload} ->
            case publish(User, Id, Payload, State) of
                {ok, State1} -> {ok, State1};
                {error, Error} -> {error, Error, State}
            end;
        error ->
            {error, xmpp:err_bad_request(<<"Not to be published">>, IQ#iq.lang), State}
    end.

same_version(El, #iq{lang = Lang}) ->
    case fxml:get_tag_attr_s(<<"version">>, El) of
        ?VERSION ->
            ok;
        Version ->
            Reason = <<"mod_cusax speaks version ", ?VERSION/binary, " of the plugin protocol, the component version ",
                       Version/binary, ": install the mod_cusax that came with it">>,
            ?ERROR_MSG("~ts", [Reason]),
            Mismatch = element(<<"version-mismatch">>, ?NS_PLUGIN, [{<<"version">>, ?VERSION}], []),
            Error = xmpp:err_feature_not_implemented(Reason, Lang),
            Error#stanza_error{sub_els = [Mismatch]}
    end.

state_attributes(#state{epoch = undefined}) ->
    [{<<"version">>, ?VERSION}];
state_attributes(#state{epoch = Epoch, seq = Seq, map = Map}) ->
    [{<<"version">>, ?VERSION},
     {<<"epoch">>, Epoch},
     {<<"seq">>, integer_to_binary(Seq)},
     {<<"users">>, integer_to_binary(ets:info(Map, size))}].

need_sync(#state{host = Host} = State) ->
    Component = opt(Host, component),
    case ejabberd_router:is_my_route(Component) of
        true ->
            Attributes = proplists:delete(<<"users">>, state_attributes(State)),
            ejabberd_router:route(#message{from = jid:make(Host), to = jid:make(Component), id = p1_rand:get_string(),
                                           sub_els = [element(<<"need-sync">>, ?NS_PLUGIN, Attributes, [])]});
        false ->
            ok
    end.

sync_step(El) ->
    Text = fun(Name) -> fxml:get_tag_attr_s(Name, El) end,
    Number = fun(Name) ->
        try
            binary_to_integer(Text(Name))
        catch
            error:badarg -> none
        end
    end,
    case Text(<<"mode">>) of
        <<"begin">> -> start;
        <<"more">> -> {more, fxml:get_tag_cdata(El)};
        <<"commit">> -> {commit, Text(<<"epoch">>), Number(<<"seq">>), Number(<<"users">>)};
        <<"delta">> -> {delta, Text(<<"epoch">>), Number(<<"after">>), Number(<<"seq">>), fxml:get_tag_cdata(El)};
        _ -> bad_request
    end.

apply_step(start, State) ->
    {ok, (drop_staging(State))#state{staging = {new_map(), 0}}};
apply_step({more, Text}, #state{host = Host, staging = {New, Count}} = State) ->
    case read_lines(Host, Text) of
        {ok, Rows} when Count + length(Rows) =< ?MAX_USERS ->
            insert(New, Rows),
            {ok, State#state{staging = {New, Count + length(Rows)}}};
        _ ->
            conflict
    end;
apply_step({commit, Epoch, Seq, Count}, #state{host = Host, staging = {New, Count}, epoch = OldEpoch} = State)
  when Epoch /= <<>>, is_integer(Seq) ->
    State1 = take_over(New, Epoch, Seq, State#state{staging = undefined}),
    ?INFO_MSG("the component has told of ~B users of ~ts", [Count, Host]),
    %% A component that has begun anew knows of no calls but those that it tells of from now on.
    {ok, case OldEpoch of
        Epoch -> State1;
        _ -> forget_activities(State1)
    end};
apply_step({delta, Epoch, After, Seq, Text}, #state{host = Host, epoch = Epoch, seq = After, map = Map} = State)
  when Epoch /= undefined, is_integer(Seq) ->
    case read_lines(Host, Text) of
        {ok, Rows} ->
            %% Only as many as are new make the map grow, but none of them is worth a look before it is known.
            case ets:info(Map, size) + length(Rows) =< ?MAX_USERS of
                true -> {ok, apply_rows(Rows, State#state{seq = Seq})};
                false -> conflict
            end;
        error ->
            conflict
    end;
apply_step(_, _) ->
    conflict.

%% A line that takes a user away needs a look of its own.
insert(Map, Rows) ->
    case lists:any(fun is_gone/1, Rows) of
        false -> ets:insert(Map, Rows);
        true -> lists:foreach(fun(Row) -> put_row(Map, Row) end, Rows)
    end.

is_gone({_, Held, Reach}) ->
    Held == <<>> andalso Reach == <<>>.

put_row(Map, {User, _, _} = Row) ->
    case is_gone(Row) of
        true -> ets:delete(Map, User);
        false -> ets:insert(Map, Row)
    end.

line_of(Map, User) ->
    case ets:lookup(Map, User) of
        [{_, Held, Reach}] -> {Held, Reach};
        [] -> {<<>>, <<>>}
    end.

apply_rows(Rows, #state{map = Map} = State) ->
    lists:foldl(fun({User, Held, Reach} = Row, #state{waiting = Waiting} = Acc) ->
        Old = line_of(Map, User),
        put_row(Map, Row),
        Acc#state{waiting = note(User, Old, {Held, Reach}, Waiting)}
    end, State, Rows).

%% The new map stands in the place of the old one from one moment to the next.
take_over(New, Epoch, Seq, #state{proc = Proc, map = Old, waiting = Waiting} = State) ->
    ets:insert(Proc, {map, New}),
    Changed = ets:foldl(fun({User, Held, Reach}, Acc) ->
        note(User, line_of(Old, User), {Held, Reach}, Acc)
    end, Waiting, New),
    Gone = ets:foldl(fun({User, Held, Reach}, Acc) ->
        case ets:member(New, User) of
            true -> Acc;
            false -> note(User, {Held, Reach}, {<<>>, <<>>}, Acc)
        end
    end, Changed, Old),
    ets:delete(Old),
    State#state{map = New, epoch = Epoch, seq = Seq, waiting = Gone}.

drop_staging(#state{staging = undefined} = State) ->
    State;
drop_staging(#state{staging = {New, _}} = State) ->
    ets:delete(New),
    State#state{staging = undefined}.

%% What a component wants published, if it may be.
publication(El, #state{host = Host}) ->
    Items = [Item || #xmlel{} = Item <- El#xmlel.children, is_element(Item, <<"item">>, ?NS_PUBSUB)],
    try {jid:decode(fxml:get_tag_attr_s(<<"user">>, El)), fxml:get_tag_attr_s(<<"node">>, El), Items} of
        {#jid{luser = User, lserver = Host, lresource = <<>>}, ?NS_ACTIVITY, [Item]} when User /= <<>> ->
            case [Child || #xmlel{} = Child <- Item#xmlel.children] of
                [Payload] ->
                    case is_element(Payload, <<"activity">>, ?NS_ACTIVITY) of
                        true -> {User, fxml:get_tag_attr_s(<<"id">>, Item), Payload};
                        false -> error
                    end;
                _ ->
                    error
            end;
        _ ->
            error
    catch
        error:{bad_jid, _} -> error
    end.

publish(User, Id, Payload, #state{host = Host, active = Active} = State) ->
    Account = jid:make(User, Host),
    Item = #ps_item{id = case Id of <<>> -> <<"current">>; _ -> Id end, sub_els = [Payload]},
    Request = #iq{type = set, from = Account, to = Account, id = p1_rand:get_string(),
                  sub_els = [#pubsub{publish = #ps_publish{node = ?NS_ACTIVITY, items = [Item]}}]},
    case ejabberd_auth:user_exists(User, Host) andalso mod_pubsub:iq_sm(Request) of
        #iq{type = result} ->
            State1 = case [Child || #xmlel{} = Child <- Payload#xmlel.children] of
                [] -> State#state{active = maps:remove(User, Active)};
                _ -> State#state{active = Active#{User => true}}
            end,
            to_other_nodes({active, State1#state.active}, State1),
            {ok, State1};
        #iq{type = error} = Answer ->
            {error, xmpp:get_error(Answer)};
        false ->
            {error, xmpp:err_item_not_found()}
    end.

forget_activities(#state{active = Active} = State) ->
    Nothing = element(<<"activity">>, ?NS_ACTIVITY, [], []),
    lists:foldl(fun(User, Acc) ->
        case publish(User, <<>>, Nothing, Acc) of
            {ok, Acc1} -> Acc1;
            {error, _} -> Acc#state{active = maps:remove(User, Acc#state.active)}
        end
    end, State, maps:keys(Active)).

%% ---------------------------------------------------------------- other nodes

other_nodes() ->
    ejabberd_cluster:get_nodes() -- [node()].

to_other_nodes(Step, #state{proc = Proc}) ->
    gen_server:abcast(other_nodes(), Proc, {node, node(), Step}),
    ok.

%% A node that has just come up, or has missed something, takes the map of another.
ask(Node, #state{proc = Proc, epoch = Epoch, seq = Seq} = State) ->
    gen_server:cast({Proc, Node}, {node, node(), {want, Epoch, Seq}}),
    State#state{asked = now_in_ms()}.

now_in_ms() ->
    erlang:monotonic_time(millisecond).

node_says(_, {want, _, _}, #state{epoch = undefined} = State) ->
    State;
node_says(_, {want, Epoch, Seq}, #state{epoch = Epoch, seq = Seq} = State) ->
    State;
node_says(Node, {want, _, _}, #state{proc = Proc, map = Map, epoch = Epoch, seq = Seq, active = Active} = State) ->
    Send = fun(Step) -> gen_server:cast({Proc, Node}, {node, node(), Step}) end,
    Send(copy),
    send_rows(ets:select(Map, [{'$1', [], ['$1']}], 1000), Send),
    Send({active, Active}),
    Send({copied, Epoch, Seq}),
    State;
node_says(_, {active, Active}, State) ->
    State#state{active = Active};
node_says(Node, copy, State) ->
    %% Whoever begins last is heard to the end: the one before may be no more.
    (drop_copy(State))#state{copying = {Node, new_map()}};
node_says(Node, {rows, Rows}, #state{copying = {Node, New}} = State) ->
    insert(New, Rows),
    State;
node_says(Node, {copied, Epoch, Seq}, #state{copying = {Node, _}, epoch = Epoch, seq = Ours} = State) when Seq < Ours ->
    drop_copy(State);
node_says(Node, {copied, Epoch, Seq}, #state{copying = {Node, New}} = State) ->
    tell(take_over(New, Epoch, Seq, State#state{copying = undefined}));
node_says(_, {rows, _}, State) ->
    State;
node_says(_, {copied, _, _}, State) ->
    State;
node_says(Node, Step, State) ->
    case apply_step(Step, State) of
        {ok, State1} -> tell(State1);
        conflict -> missed(Node, Step, drop_staging(State))
    end.

%% Lines of a map whose beginning was missed are followed by a commit. Changes may come in numbers while a copy is on its
%% way.
missed(Node, Step, State) when element(1, Step) == commit ->
    ask(Node, State);
missed(Node, Step, #state{asked = Asked} = State) when element(1, Step) == delta ->
    case now_in_ms() - Asked > ?COPY of
        true -> ask(Node, State);
        false -> State
    end;
missed(_, _, State) ->
    State.

drop_copy(#state{copying = undefined} = State) ->
    State;
drop_copy(#state{copying = {_, New}} = State) ->
    ets:delete(New),
    State#state{copying = undefined}.

send_rows('$end_of_table', _) ->
    ok;
send_rows({Rows, Continuation}, Send) ->
    Send({rows, Rows}),
    send_rows(ets:select(Continuation), Send).

%% ---------------------------------------------------------------- cards

%% Whatever a user stores in the own account passes here: cards in both formats and everything that is published.
stored(El, IQ, #{jid := #jid{luser = User, lserver = Host} = Jid} = State) ->
    Publications = publications(El),
    Reaches = [Each || Each <- Publications, fxml:get_tag_attr_s(<<"node">>, Each) == ?NS_REACH],
    Honest = lists:all(fun(Reach) -> reach_is_held(Reach, addresses(held(Host, User))) end, Reaches),
    Card = Publications /= [] orelse string:lowercase(local_name(El)) == <<"vcard">>,
    case Honest of
        false ->
            Text = <<"Only your own SIP addresses and numbers may stand there.">>,
            refuse(IQ, xmpp:err_not_acceptable(Text, IQ#iq.lang)),
            {stop, {drop, State}};
        true ->
            case Card andalso does(Host, vcard) andalso has_tel(El) of
                true ->
                    Account = jid:encode(jid:remove_resource(Jid)),
                    Check = element(<<"check">>, ?NS_PLUGIN, [{<<"user">>, Account}], [El]),
                    Component = jid:make(opt(Host, component)),
                    Question = #iq{type = set, from = jid:make(Host), to = Component, sub_els = [Check]},
                    ejabberd_router:route_iq(Question, {card, IQ}, proc(Host), opt(Host, check_timeout)),
                    {stop, {drop, State}};
                false ->
                    {IQ, State}
            end
    end.

publications(#xmlel{name = <<"pubsub">>, children = Actions} = El) ->
    case fxml:get_tag_attr_s(<<"xmlns">>, El) of
        ?NS_PUBSUB -> [Action || #xmlel{} = Action <- Actions, local_name(Action) == <<"publish">>];
        _ -> []
    end;
publications(_) ->
    [].

%% Of each address that is published, however deep it stands.
reach_is_held(#xmlel{children = Children} = El, Known) ->
    Fine = case {local_name(El), fxml:get_tag_attr(<<"uri">>, El)} of
        {<<"addr">>, {value, Uri}} -> may_say(Uri, Known);
        _ -> true
    end,
    Fine andalso lists:all(fun(Child) -> reach_is_held(Child, Known) end, Children);
reach_is_held(_, _) ->
    true.

has_tel(#xmlel{children = Children} = El) ->
    string:lowercase(local_name(El)) == <<"tel">> orelse lists:any(fun has_tel/1, Children);
has_tel(_) ->
    false.

card_judged(Answer, IQ, #state{host = Host}) ->
    Component = opt(Host, component),
    case Answer of
        #iq{type = result, from = #jid{luser = <<>>, lserver = Component}, sub_els = [El | _]} ->
            case is_element(El, <<"checked">>, ?NS_PLUGIN) of
                %% Storing may take long.
                true -> spawn(fun() -> ejabberd_router:route(IQ) end);
                false -> not_judged(IQ)
            end;
        #iq{type = error} ->
            case xmpp:get_error(Answer) of
                #stanza_error{type = modify, reason = 'not-acceptable', text = Text} ->
                    refuse(IQ, xmpp:err_not_acceptable(xmpp:get_text(Text), IQ#iq.lang));
                _ ->
                    not_judged(IQ)
            end;
        _ ->
            not_judged(IQ)
    end.

not_judged(IQ) ->
    Text = <<"Telephone numbers cannot be checked just now; nothing was stored.">>,
    refuse(IQ, xmpp:err_resource_constraint(Text, IQ#iq.lang)).

refuse(IQ, Error) ->
    ejabberd_router:route_error(IQ, Error).

%% ---------------------------------------------------------------- elements

element(Name, Attributes, Children) ->
    #xmlel{name = Name, attrs = Attributes, children = Children}.

element(Name, Namespace, Attributes, Children) ->
    element(Name, [{<<"xmlns">>, Namespace} | Attributes], Children).

is_element(#xmlel{name = Name} = El, Name, Namespace) ->
    fxml:get_tag_attr_s(<<"xmlns">>, El) == Namespace;
is_element(_, _, _) ->
    false.

%% A prefix that the head of the stream declares stays in the name.
local_name(#xmlel{name = Name}) ->
    lists:last(binary:split(Name, <<":">>, [global])).
