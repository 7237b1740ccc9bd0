-- Events in the product as they arrived, one that arrived twice twice: what counts by day reads only the days it needs,
-- which a rank over all of history would forbid.
with

source as (

    select *
    from {{ landed('segment', 'tracks', ['id', 'user_id', 'context_group_id', 'event', 'timestamp', 'received_at']) }}

),

renamed as (

    select
        ---------- ids
        id as event_id,
        user_id,
        context_group_id as workspace_id,
        ---------- attributes
        coalesce(event, 'unnamed') as event_name,
        ---------- timestamps
        {{ utc_timestamp(adapter.quote('timestamp')) }} as occurred_at,
        -- an event that does not tell arrived when it happened
        coalesce({{ utc_timestamp('received_at') }}, {{ utc_timestamp(adapter.quote('timestamp')) }}) as received_at
    from source
    where id is not null

),

known as (

    select *
    from renamed
    where
        -- what has not arrived by the clock is not known yet
        received_at <= {{ as_of_at() }}
        and occurred_at <= {{ as_of_at() }}

)

select * from known
