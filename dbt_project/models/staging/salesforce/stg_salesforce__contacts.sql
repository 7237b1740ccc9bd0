with

source as (

    select
        *,
        {{ load_rank('id', ['_landed_at', 'last_modified_date']) }} as load_rank
    from {{ landed('salesforce', 'contact', [
        'id',
        'account_id',
        'email',
        'first_name',
        'last_name',
        'title',
        'mailing_country',
        'has_opted_out_of_email',
        'created_date',
        'last_modified_date',
    ], optional=true) }}

),

renamed as (

    select
        ---------- ids
        id as salesforce_contact_id,
        account_id as salesforce_account_id,
        ---------- attributes
        {{ normalised_email('email') }} as email,
        trim(first_name) as first_name,
        trim(last_name) as last_name,
        title as job_title,
        mailing_country as country,
        {{ asked_to_stop('has_opted_out_of_email') }} as has_opted_out,
        ---------- timestamps
        {{ utc_timestamp('created_date') }} as created_at,
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
