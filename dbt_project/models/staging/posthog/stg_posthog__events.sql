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
        uuid as event_id,
        coalesce(device_id, anonymous_id) as anonymous_id,
        {{ posthog_user_id() }} as user_id,
        workspace_id,
        ---------- attributes
        coalesce(event, 'unnamed') as event_name,
        ---------- timestamps
        {{ utc_timestamp('timestamp') }} as occurred_at,
        {{ utc_timestamp('arrived_at') }} as received_at
    from source
    where
        load_rank = 1
        and uuid is not null
        -- PostHog's own kinds (a page view, a click, who somebody is) are no use of a feature
        and coalesce(event, 'unnamed') not like '$%'

),

known as (

    select *
    from renamed
    where occurred_at <= {{ as_of_at() }}

)

select * from known
