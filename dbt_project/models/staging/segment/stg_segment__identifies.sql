with

source as (

    select
        *,
        {{ load_rank('id', 'received_at') }} as load_rank
    from {{ landed('segment', 'identifies', [
        'id', 'anonymous_id', 'user_id', 'email', 'name', 'title', 'role', 'locale', 'timezone',
        'context_consent_category_preferences_analytics', 'timestamp', 'received_at',
    ], optional=true) }}
    -- what has not arrived by the clock is not known yet
    where coalesce({{ utc_timestamp('received_at') }}, {{ utc_timestamp('timestamp') }}) <= {{ as_of_at() }}

),

renamed as (

    select
        ---------- ids
        id as identify_id,
        anonymous_id,
        user_id,
        ---------- attributes
        {{ normalised_email('email') }} as email,
        name as full_name,
        title as job_title,
        role as product_role,
        locale,
        timezone as time_zone,
        {{ true_or_false('context_consent_category_preferences_analytics') }} as has_analytics_consent,
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
