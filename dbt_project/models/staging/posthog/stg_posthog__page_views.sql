with

source as (

    select
        *,
        {{ load_rank('uuid', ['_landed_at', 'arrived_at']) }} as load_rank
    from {{ posthog_events() }}
    -- what has not arrived by the clock is not known yet
    where {{ utc_timestamp('arrived_at') }} <= {{ as_of_at() }}

),

renamed as (

    select
        ---------- ids
        uuid as page_view_id,
        coalesce(device_id, anonymous_id, distinct_id) as anonymous_id,
        {{ posthog_user_id() }} as user_id,
        ---------- attributes
        path,
        title,
        referrer,
        cast(null as boolean) as has_analytics_consent,
        ---------- timestamps
        {{ utc_timestamp('timestamp') }} as occurred_at,
        {{ utc_timestamp('arrived_at') }} as received_at
    from source
    where
        load_rank = 1
        and uuid is not null
        and event = '$pageview'

),

known as (

    select *
    from renamed
    where occurred_at <= {{ as_of_at() }}

)

select * from known
