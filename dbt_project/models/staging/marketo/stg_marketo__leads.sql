with

source as (

    select
        *,
        {{ load_rank('id', ['_landed_at', 'updated_at']) }} as load_rank
    from {{ landed('marketo', 'lead', [
        'id',
        'email',
        'first_name',
        'last_name',
        'title',
        'country',
        'unsubscribed',
        'email_invalid',
        'created_at',
        'updated_at',
    ], optional=true) }}

),

renamed as (

    select
        ---------- ids
        cast(id as {{ dbt.type_string() }}) as marketo_lead_id,
        ---------- attributes
        {{ normalised_email('email') }} as email,
        trim(first_name) as first_name,
        trim(last_name) as last_name,
        title as job_title,
        country,
        {{ asked_to_stop('unsubscribed') }} as has_opted_out,
        coalesce({{ true_or_false('email_invalid') }}, false) as is_invalid,
        ---------- timestamps
        {{ utc_timestamp('created_at') }} as created_at,
        {{ utc_timestamp('updated_at') }} as updated_at,
        {{ utc_timestamp('_landed_at') }} as loaded_at
    from source
    where
        load_rank = 1
        and not _is_deleted
        and id is not null

),

known as (

    select *
    from renamed
    where {{ not_after_clock('created_at') }}

)

select * from known
