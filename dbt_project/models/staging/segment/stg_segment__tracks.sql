with

source as (

    select
        *,
        {{ load_rank('id', 'received_at') }} as load_rank
    from {{ landed('segment', 'tracks', [
        'id', 'anonymous_id', 'user_id', 'context_group_id', 'event', 'timestamp', 'received_at',
    ]) }}
    -- what has not arrived by the clock is not known yet
    where coalesce({{ utc_timestamp('received_at') }}, {{ utc_timestamp('timestamp') }}) <= {{ as_of_at() }}

),

renamed as (

    select
        ---------- ids
        id as event_id,
        anonymous_id,
        user_id,
        context_group_id as workspace_id,
        ---------- attributes
        coalesce(event, 'unnamed') as event_name,
        ---------- timestamps
        {{ utc_timestamp('timestamp') }} as occurred_at,
        coalesce({{ utc_timestamp('received_at') }}, {{ utc_timestamp('timestamp') }}) as received_at
    from source
    where
        load_rank = 1
        and id is not null

),

known as (

    select *
    from renamed
    where occurred_at <= {{ as_of_at() }}

)

select * from known
